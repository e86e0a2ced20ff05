// Holds requests until a time has passed, or until they are let go.

export class Gate {
  #letGo = new Set();

  get held() {
    return this.#letGo.size;
  }

  // Waits `ms` milliseconds; for ever, if that is negative. Whatever the time,
  // release() ends the wait, and so does the client by going away: held
  // requests are always ones whose client is still there.
  hold(ms, res) {
    if (!ms) return Promise.resolve();
    return new Promise((resolve) => {
      const letGo = () => {
        clearTimeout(timer);
        res.off('close', letGo);
        this.#letGo.delete(letGo);
        resolve();
      };
      const timer = ms > 0 ? setTimeout(letGo, ms) : undefined;
      res.once('close', letGo);
      this.#letGo.add(letGo);
    });
  }

  release() {
    const released = this.held;
    for (const letGo of this.#letGo) letGo();
    return released;
  }
}
