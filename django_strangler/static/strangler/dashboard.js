/* Keeps the dashboard fresh. Without it, the page has a link that does the same. */
"use strict";

{
    const board = document.getElementById("strangler");
    let busy = false;

    // Whoever is selecting text or moving through the page by keyboard is left in peace.
    const isInUse = () =>
        board.querySelector(":focus-visible") !== null ||
        (!getSelection().isCollapsed && board.contains(getSelection().anchorNode));

    const refresh = async () => {
        if (busy || document.hidden || isInUse()) {
            return;
        }
        busy = true;
        try {
            const answer = await fetch(location.href, {
                credentials: "same-origin",
                signal: AbortSignal.timeout(30000),
            });
            const page = new DOMParser().parseFromString(
                await answer.text(), "text/html"
            );
            const fresh = page.getElementById("strangler");
            // Whoever has been logged out gets another page.
            if (!answer.ok || fresh === null) {
                throw new Error(`the answer was ${answer.status}`);
            }
            board.replaceChildren(...fresh.childNodes);
        } catch {
            document.getElementById("strangler-stale")?.removeAttribute("hidden");
        } finally {
            busy = false;
        }
    };

    if (board !== null) {
        setInterval(refresh, 1000 * board.dataset.refresh);
        document.addEventListener("visibilitychange", refresh);
    }
}
