// Mesh Link as @meshconnect/web-link-sdk opens it: an iframe, and a few messages. In a
// page of yours the SDK does this:
//
//   createLink({ clientId, accessTokens, onIntegrationConnected, onExit }).openLink(linkToken)

const dialog = document.querySelector("#link");
let closeOpen = () => {};

// Opens Link, and is done when it has closed. With access tokens it begins at the transfer.
export function openLink(linkToken, { accessTokens, onConnected, onTransferred }) {
  closeOpen();
  const url = new URL(atob(linkToken));
  const frame = document.createElement("iframe");
  frame.title = "Mesh Link";
  frame.src = url.href;

  return new Promise((closed) => {
    const tell = (message) => frame.contentWindow.postMessage(message, url.origin);

    function listen(event) {
      // Whoever has a window can send messages: only Link's own window counts, as long as
      // its own origin is in it.
      if (event.source !== frame.contentWindow || event.origin !== url.origin) return;
      switch (event.data?.type) {
        case "loaded":
          tell({ type: "meshSDKSpecs", payload: { platform: "web", version: "0" } });
          if (accessTokens) tell({ type: "frontAccessTokens", payload: accessTokens });
          accessTokens = null; // Link has them: the page needs them no longer.
          break;
        case "brokerageAccountAccessToken":
          onConnected({ accessToken: event.data.payload });
          break;
        case "delayedAuthentication":
          onConnected({ delayedAuth: event.data.payload });
          break;
        case "transferFinished":
          onTransferred?.(event.data.payload);
          break;
        case "close":
        case "done":
          closeOpen();
          break;
      }
    }

    closeOpen = () => {
      closeOpen = () => {};
      window.removeEventListener("message", listen);
      frame.remove();
      dialog.close();
      closed();
    };

    window.addEventListener("message", listen);
    document.querySelector("#link-origin").textContent = `at ${url.host}`;
    dialog.append(frame);
    dialog.showModal();
  });
}

export const closeLink = () => closeOpen();

document.querySelector("#link-close").addEventListener("click", closeLink);
dialog.addEventListener("close", () => {
  if (!dialog.open) closeLink();
});
