// The browser has one clipboard for all its contexts. What is copied or cut in a page is kept by its
// episode instead, and a paste is done again with what the episode holds. Runs beside page.js.
globalThis.agentrlClipboard = globalThis.agentrlClipboard || (() => {
  let copied = null;
  let held = null;

  function keep(event) {
    // A page that copies by itself says what, and prevents the browser from doing it.
    const text = event.defaultPrevented ? event.clipboardData.getData("text/plain") : selected(event.composedPath()[0]);
    if (text) copied = text;
  }

  function selected(from) {
    if (["input", "textarea"].includes(from.localName) && from.selectionStart !== null)
      return from.type === "password" ? "" : from.value.slice(from.selectionStart, from.selectionEnd);
    return String(getSelection());
  }

  function paste(event) {
    if (!event.isTrusted || held === null) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    if (held === "") return;
    const data = new DataTransfer();
    data.setData("text/plain", held);
    const about = { clipboardData: data, bubbles: true, cancelable: true, composed: true };
    if (event.composedPath()[0].dispatchEvent(new ClipboardEvent("paste", about)))
      document.execCommand("insertText", false, held);
  }

  addEventListener("copy", keep);
  addEventListener("cut", keep);
  addEventListener("paste", paste, true);

  return {
    hold(text) { held = text; },
    // What was copied since the last call, or null.
    taken() { const text = copied; copied = null; return text; },
  };
})();
