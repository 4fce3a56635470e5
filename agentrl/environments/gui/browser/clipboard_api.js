// Runs among the page's own scripts, before them: navigator.clipboard is the episode's clipboard, which
// the browser has one of for all episodes. Text only. Reading takes the permission "clipboard-read";
// writing takes "clipboard-write" or a user's action, as in the browser.
(() => {
  const call = globalThis.agentrlClipboard;
  delete globalThis.agentrlClipboard;
  if (!call || !globalThis.Clipboard) return;

  const refused = (what) => new DOMException(`${what} permission denied.`, "NotAllowedError");

  async function granted(name) {
    return (await navigator.permissions.query({ name })).state === "granted";
  }

  async function writeText(text) {
    const active = navigator.userActivation.isActive;
    if (!active && !await granted("clipboard-write")) throw refused("Write");
    call("write", String(text));
  }

  async function readText() {
    if (!await granted("clipboard-read")) throw refused("Read");
    const text = await call("read", "");
    // The screen is read once the page has had its turn with the text.
    setTimeout(() => call("end", ""));
    return text;
  }

  async function write(items) {
    const item = [...items].find((one) => one.types.includes("text/plain"));
    if (!item) throw new DOMException("only text is kept", "NotAllowedError");
    return writeText(await (await item.getType("text/plain")).text());
  }

  async function read() {
    const text = await readText();
    return text ? [new ClipboardItem({ "text/plain": new Blob([text], { type: "text/plain" }) })] : [];
  }

  for (const method of [writeText, readText, write, read])
    Object.defineProperty(Clipboard.prototype, method.name, { value: method, writable: true, configurable: true });
})();
