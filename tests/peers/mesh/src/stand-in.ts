// The stand-in as a process, and the commands it takes.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

export class StandIn {
  readonly url: string;
  readonly id: string;
  readonly secret: string;

  private constructor(
    ready: string,
    private readonly child: ReturnType<typeof spawn>,
    private readonly lines: AsyncIterator<string>,
  ) {
    const [word, url = '', id = '', secret = ''] = ready.split(' ');
    if (word !== 'ready') throw new Error('the stand-in is not ready');
    this.url = url;
    this.id = id;
    this.secret = secret;
  }

  static async start(program: string, ...options: string[]): Promise<StandIn> {
    const child = spawn(program, options, { stdio: ['pipe', 'pipe', 'inherit'] });
    const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
    const ready = await lines.next();
    return new StandIn(String(ready.value), child, lines);
  }

  async tell(command: string): Promise<string> {
    this.child.stdin?.write(`${command}\n`);
    const answer = await this.lines.next();
    if (answer.done) throw new Error(`the stand-in ended at: ${command}`);
    return answer.value;
  }

  async stop(): Promise<void> {
    this.child.stdin?.end();
    await once(this.child, 'exit');
  }
}
