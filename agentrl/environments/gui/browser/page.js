// Runs in an isolated world of every page: it sees the document, the page's scripts do not see it.
globalThis.agentrl = globalThis.agentrl || (() => {
  const LIMIT = 4000;
  const NAME = 200;
  const SKIP = new Set(["script", "style", "noscript", "template", "head", "meta", "link", "title",
    "base", "source", "track", "param", "defs", "clippath", "lineargradient", "mask", "br", "wbr"]);
  const ROLES = {
    a: "link", button: "button", select: "combobox", textarea: "textbox", summary: "button",
    option: "option", img: "image", canvas: "canvas", video: "video", audio: "audio", iframe: "frame",
    h1: "heading", h2: "heading", h3: "heading", h4: "heading", h5: "heading", h6: "heading",
    td: "cell", th: "columnheader", li: "listitem", label: "label", progress: "progressbar",
    meter: "meter", dialog: "dialog", tr: "row", fieldset: "group", nav: "navigation", hr: "separator",
  };
  const INPUTS = {
    button: "button", submit: "button", reset: "button", image: "button", checkbox: "checkbox",
    radio: "radio", range: "slider", number: "spinbutton", search: "searchbox", file: "file",
  };
  const GROUPS = new Set(["row", "dialog", "group", "navigation", "alertdialog", "radiogroup", "menu",
    "tree", "listbox", "tablist", "toolbar", "form", "table", "grid"]);
  const SHAPES = new Set(["rect", "circle", "ellipse", "polygon", "polyline", "path", "line"]);
  const SETTABLE = new Set(["date", "time", "month", "week", "datetime-local", "color", "range"]);
  let refs = [];
  let leaving = "";
  let focus = null;

  if (globalThis.navigation) {
    navigation.addEventListener("navigate", (event) => {
      if (event.downloadRequest !== null && event.downloadRequest !== undefined) leaving = "download";
      else if (!event.hashChange && !event.destination.sameDocument) leaving = "page";
    });
    navigation.addEventListener("navigateerror", () => { leaving = ""; });
  }

  const flat = (text) => (text || "").replace(/\s+/g, " ").trim();
  const tagOf = (element) => element.localName.toLowerCase();

  function roleOf(element, tag) {
    const given = element.getAttribute("role");
    if (given && given !== "presentation" && given !== "none") return given.split(" ")[0];
    if (tag === "input") return INPUTS[element.type] || "textbox";
    if (tag === "a" && !element.hasAttribute("href")) return "";
    if (tag === "select" && (element.multiple || element.size > 1)) return "listbox";
    if (element.isContentEditable && !(element.parentElement && element.parentElement.isContentEditable))
      return "textbox";
    return ROLES[tag] || "";
  }

  const ACTED = new Set(["link", "button", "combobox", "textbox", "checkbox", "radio", "slider",
    "spinbutton", "searchbox", "file", "option", "tab", "menuitem", "menuitemcheckbox", "switch",
    "menuitemradio", "treeitem", "listbox", "gridcell"]);

  function acted(element, role, style, pointer) {
    return ACTED.has(role) || element.hasAttribute("onclick") || element.draggable === true && role !== "image"
      || (element.tabIndex >= 0 && element.hasAttribute("tabindex")) || (pointer && style.cursor === "pointer");
  }

  function nameOf(element, tag) {
    const label = element.getAttribute("aria-label");
    if (label) return flat(label);
    const by = element.getAttribute("aria-labelledby");
    if (by) {
      const root = element.getRootNode();
      const said = by.split(/\s+/).map((id) => flat(root.getElementById?.(id)?.textContent)).join(" ").trim();
      if (said) return said;
    }
    if (tag === "input" && ["button", "submit", "reset"].includes(element.type))
      return flat(element.value) || element.type;
    if (tag === "img" || tag === "area" || element.type === "image") return flat(element.alt || element.title);
    if (["input", "select", "textarea"].includes(tag)) {
      const labels = [...(element.labels || [])].map((l) => flat(ownText(l))).join(" ").trim();
      return labels || flat(element.placeholder || element.title || element.name);
    }
    if (tag === "iframe") return flat(element.title || element.name);
    return flat(ownText(element)) || flat(element.title || element.getAttribute("alt"));
  }

  // The text that is shown; options and scripts inside are not part of a name.
  function ownText(element) {
    if (!element.querySelector("select,script,style,svg")) {
      return (element.childElementCount ? element.innerText : element.textContent) || "";
    }
    let said = "";
    for (const child of element.childNodes) {
      if (child.nodeType === 3) said += child.data;
      else if (child.nodeType === 1 && !SKIP.has(tagOf(child)) && tagOf(child) !== "select") said += " " + ownText(child);
    }
    return said;
  }

  function valueOf(element, tag, role, box) {
    if (tag === "select") return [...element.selectedOptions].map((o) => flat(o.text)).join(", ");
    if (tag === "input" || tag === "textarea") {
      if (["checkbox", "radio", "button", "submit", "reset", "image"].includes(element.type)) return null;
      if (element.type === "file") return [...element.files].map((f) => f.name).join(", ");
      return element.type === "password" ? "•".repeat(element.value.length) : element.value;
    }
    if (role === "textbox") return flat(element.innerText);
    if (element.hasAttribute("aria-valuenow")) return element.getAttribute("aria-valuenow");
    if (tag === "progress" || tag === "meter") return String(element.value);
    if (SHAPES.has(tag) || tag === "canvas") {
      return `${box[2] - box[0]}x${box[3] - box[1]} at (${box[0]},${box[1]})`;
    }
    return null;
  }

  function statesOf(element, tag, active) {
    const states = [];
    if (element === active) states.push("focused");
    if (element.checked === true || element.getAttribute("aria-checked") === "true") states.push("checked");
    if (element.disabled === true || element.getAttribute("aria-disabled") === "true") states.push("disabled");
    if (element.getAttribute("aria-selected") === "true" || (tag === "option" && element.selected))
      states.push("selected");
    const expanded = element.getAttribute("aria-expanded");
    if (expanded) states.push(expanded === "true" ? "expanded" : "collapsed");
    if (element.readOnly === true && tag !== "option") states.push("readonly");
    if (element.required === true) states.push("required");
    return states;
  }

  function view(hidden) {
    const width = innerWidth, height = innerHeight;
    const rows = [];
    refs = [null];
    focus = deepActive(document);
    const whole = [0, 0, width, height];

    function row(element, role, name, rect, clip, value, states, depth, numbered) {
      const l = Math.max(rect.left, clip[0]), t = Math.max(rect.top, clip[1]);
      const r = Math.min(rect.right, clip[2]), b = Math.min(rect.bottom, clip[3]);
      const seen = r > l && b > t;
      if (!seen) states.push("offscreen");
      const box = seen ? [l, t, r, b] : [rect.left, rect.top, rect.right, rect.bottom];
      const id = numbered ? refs.push(element) - 1 : 0;
      rows.push([id, role, name.slice(0, NAME), ...box.map(Math.round), value, states, depth]);
    }

    // Where the frame stands in the page and what of it is visible.
    function shift(rect, dx, dy) {
      return { left: rect.left + dx, top: rect.top + dy, right: rect.right + dx, bottom: rect.bottom + dy };
    }

    function walk(node, depth, clip, dx, dy, silent, pointer) {
      for (let child = node.firstChild; child && rows.length < LIMIT; child = child.nextSibling) {
        if (child.nodeType === 3) {
          if (!silent && /\S/.test(child.data)) text(child, depth, clip, dx, dy);
        } else if (child.nodeType === 1) one(child, depth, clip, dx, dy, silent, pointer);
      }
    }

    function text(node, depth, clip, dx, dy) {
      const range = document.createRange();
      range.selectNodeContents(node);
      const rect = range.getBoundingClientRect();
      if (rect.width && rect.height)
        row(node.parentElement, "text", flat(node.data), shift(rect, dx, dy), clip, null, [], depth, false);
    }

    function one(element, depth, clip, dx, dy, silent, pointer) {
      const tag = tagOf(element);
      if (SKIP.has(tag) || (tag === "input" && element.type === "hidden")) return;
      if (hidden && element.matches(hidden)) return;
      const style = getComputedStyle(element);
      if (style.display === "none" || element.inert || element.getAttribute("aria-hidden") === "true" && !element.children.length) return;
      const unseen = style.visibility !== "visible" || (style.opacity === "0" && tag !== "input");
      const rect = shift(element.getBoundingClientRect(), dx, dy);
      if (style.overflowX !== "visible" || style.overflowY !== "visible") {
        clip = [Math.max(clip[0], rect.left), Math.max(clip[1], rect.top),
          Math.min(clip[2], rect.right), Math.min(clip[3], rect.bottom)];
      }
      // A label is the name of its control, and is not said again.
      if (tag === "label" && element.control && element.control.getClientRects().length) {
        walk(element, depth, clip, dx, dy, true, pointer);
        return;
      }
      const role = roleOf(element, tag);
      const shape = SHAPES.has(tag);
      const sized = rect.right > rect.left || rect.bottom > rect.top;
      const now = !unseen && (sized || tag === "option");
      const does = now && acted(element, role, style, !pointer);
      const below = pointer || style.cursor === "pointer";
      if (tag === "option" && tagOf(element.parentElement) !== "datalist"
          && element.closest("select")?.size <= 1 && !element.closest("select")?.multiple) return;
      if (!does && GROUPS.has(role) && now) {
        const name = flat(element.getAttribute("aria-label") || element.querySelector(":scope > legend")?.textContent || "");
        row(element, role, name, rect, clip, null, [], depth, false);
        walk(element, depth + 1, clip, dx, dy, silent, below);
        return;
      }
      const leaf = !element.childElementCount;
      const graphic = shape || tag === "img" || tag === "canvas" || tag === "iframe" || tag === "video"
        || tag === "progress" || tag === "meter" || (tag === "text" && element.namespaceURI.endsWith("svg"));
      const said = leaf && !silent && /\S/.test(element.textContent);
      const blank = leaf && now && !does && !said && !silent && !graphic && painted(element, style);
      if (now && (does || graphic || said || blank)) {
        const label = shape || blank ? look(element, style) : nameOf(element, tag);
        const box = [rect.left, rect.top, rect.right, rect.bottom].map(Math.round);
        row(element, role || (graphic ? tag : blank ? "area" : does ? "clickable" : "text"), label, rect,
          clip, blank ? `${box[2] - box[0]}x${box[3] - box[1]} at (${box[0]},${box[1]})` : valueOf(element, tag, role, box),
          statesOf(element, tag, focus), depth, true);
        if (tag === "select" && role === "combobox") {
          rows[rows.length - 1].push([...element.options].slice(0, 200).map((o) => flat(o.text)));
        }
      }
      if (tag === "iframe") {
        const inner = element.contentDocument;
        if (inner && inner.body) {
          const x = rect.left + element.clientLeft, y = rect.top + element.clientTop;
          const area = [Math.max(clip[0], x), Math.max(clip[1], y), Math.min(clip[2], rect.right), Math.min(clip[3], rect.bottom)];
          walk(inner.body, depth + 1, area, x, y, false, false);
        }
        return;
      }
      if (tag === "select" && role === "combobox") return;
      const quiet = silent || does && !GROUPS.has(role) && tag !== "body";
      if (element.shadowRoot) walk(element.shadowRoot, depth, clip, dx, dy, quiet, below);
      if (!(said && leaf)) walk(element, depth, clip, dx, dy, quiet || unseen, below);
    }

    if (document.body) walk(document.body, 0, whole, 0, 0, false, false);
    return [document.title, location.href, width, height, rows];
  }

  function painted(element, style) {
    return style.backgroundImage !== "none"
      || (style.backgroundColor !== "rgba(0, 0, 0, 0)" && element !== document.body)
      || (style.borderTopWidth !== "0px" && style.borderTopStyle !== "none");
  }

  function look(element, style) {
    const said = flat(element.getAttribute("aria-label") || element.getAttribute("title") || element.id || "");
    const colour = element.getAttribute("fill") || (SHAPES.has(tagOf(element)) ? style.fill : style.backgroundColor);
    return flat(`${said} ${colour && colour !== "none" && colour !== "rgba(0, 0, 0, 0)" ? colour : ""}`);
  }

  function deepActive(root) {
    let active = root.activeElement;
    while (active) {
      if (active.shadowRoot && active.shadowRoot.activeElement) active = active.shadowRoot.activeElement;
      else if (active.localName === "iframe" && active.contentDocument?.activeElement
               && active.contentDocument.activeElement !== active.contentDocument.body)
        active = active.contentDocument.activeElement;
      else break;
    }
    return active;
  }

  const turn = () => new Promise((done) => setTimeout(done, 0));

  // What is shown once the scripts that an event started have run; "leaving" when the page goes away.
  async function settled(hidden) {
    await turn();
    if (leaving) {
      const what = leaving;
      if (what === "download") leaving = "";
      return JSON.stringify([what]);
    }
    if (document.readyState !== "complete") {
      await Promise.race([
        new Promise((done) => addEventListener("load", done, { once: true })),
        new Promise((done) => setTimeout(done, 10000)),
      ]);
      await turn();
    }
    return JSON.stringify(["", ...view(hidden), agentrlClipboard.taken()]);
  }

  function frameShift(element) {
    let dx = 0, dy = 0;
    for (let frame = element.ownerDocument.defaultView?.frameElement; frame;
      frame = frame.ownerDocument.defaultView?.frameElement) {
      const rect = frame.getBoundingClientRect();
      dx += rect.left + frame.clientLeft;
      dy += rect.top + frame.clientTop;
    }
    return [dx, dy];
  }

  // The pixel to press for element `id`, brought into view; or why it cannot be pressed.
  function locate(id) {
    const element = refs[id];
    if (!element) return { error: "gone" };
    if (!element.isConnected) return { error: "gone" };
    const inside = (x, y) => x >= 0 && y >= 0 && x < innerWidth && y < innerHeight;
    const spot = () => {
      const [dx, dy] = frameShift(element);
      const rects = [...element.getClientRects()].filter((r) => r.width > 0 || r.height > 0);
      const rect = rects[0] || element.getBoundingClientRect();
      return [rect.left + rect.width / 2 + dx, rect.top + rect.height / 2 + dy, dx, dy];
    };
    const hit = (x, y, dx, dy) => {
      let found = element.getRootNode().elementFromPoint?.(x - dx, y - dy) ?? null;
      if (found && found.shadowRoot && !found.contains(element)) found = found.shadowRoot.elementFromPoint(x, y) || found;
      return found;
    };
    const ours = (found) => found && (element.contains(found) || found.contains(element)
      || (found.closest && found.closest("label")?.control === element) || element.closest("label")?.contains(found));
    let [x, y, dx, dy] = spot();
    if (!inside(x, y) || !ours(hit(x, y, dx, dy))) {
      element.scrollIntoView({ block: "center", inline: "center", behavior: "instant" });
      [x, y, dx, dy] = spot();
    }
    if (!inside(x, y)) return { error: "outside" };
    const found = hit(x, y, dx, dy);
    if (!ours(found)) {
      const [l, t, r, b] = free(element, dx, dy, hit, ours);
      if (l === null) return { error: "covered", by: found ? flat(found.textContent).slice(0, 60) || tagOf(found) : "" };
      [x, y] = [l, t];
    }
    return { x, y, disabled: element.disabled === true, type: tagOf(element) === "input" ? element.type : tagOf(element) };
  }

  // A shape or a wrapped link is often not where its centre is: try a grid of points.
  function free(element, dx, dy, hit, ours) {
    for (const rect of element.getClientRects()) {
      for (const fy of [0.5, 0.25, 0.75, 0.05, 0.95]) {
        for (const fx of [0.5, 0.25, 0.75, 0.05, 0.95]) {
          const x = rect.left + rect.width * fx + dx, y = rect.top + rect.height * fy + dy;
          if (ours(hit(x, y, dx, dy))) return [x, y];
        }
      }
    }
    return [null];
  }

  // Makes `id` hold the focus with its content selected, so that typing replaces it.
  function prepare(id, text) {
    const element = refs[id];
    const tag = tagOf(element);
    if (tag === "input" && SETTABLE.has(element.type)) {
      element.focus();
      element.value = text;
      if (element.value !== text && !(element.type === "color" || element.type === "range"))
        return { error: `a ${element.type} field does not take ${JSON.stringify(text)}` };
      element.dispatchEvent(new Event("input", { bubbles: true, composed: true }));
      element.dispatchEvent(new Event("change", { bubbles: true }));
      return { done: true };
    }
    if (element.readOnly || element.disabled) return { error: "the field cannot be changed" };
    if (tag === "input" || tag === "textarea") {
      if (["checkbox", "radio", "button", "submit", "file", "image", "reset"].includes(element.type))
        return { error: `nothing can be typed into a ${element.type}` };
      element.focus();
      element.select();
      return { done: false, empty: element.value === "" };
    }
    if (element.isContentEditable) {
      element.focus();
      getSelection().selectAllChildren(element);
      return { done: false, empty: element.textContent === "" };
    }
    return { done: false, empty: true };
  }

  function choose(id, wanted) {
    const select = refs[id]?.closest?.("select");
    if (!select) return { error: "it is not a list to choose from" };
    const options = [...select.options];
    const same = (f) => options.find((o) => f(flat(o.text)) === f(flat(wanted)));
    const option = same((s) => s) || same((s) => s.toLowerCase()) || options.find((o) => o.value === wanted);
    if (!option) return { error: "there is no such option", options: options.slice(0, 30).map((o) => flat(o.text)) };
    if (option.disabled || select.disabled) return { error: "it cannot be chosen" };
    select.focus();
    if (select.multiple) option.selected = !option.selected;
    else select.value = option.value, option.selected = true;
    select.dispatchEvent(new Event("input", { bubbles: true, composed: true }));
    select.dispatchEvent(new Event("change", { bubbles: true }));
    return {};
  }

  // Scrolls what is at the element (or the page); false when it is at its end already.
  function scroll(id, dx, dy) {
    let node = id ? refs[id] : document.scrollingElement;
    for (; node; node = node.parentElement || node.getRootNode().host) {
      const [left, top] = [node.scrollLeft, node.scrollTop];
      node.scrollBy({ left: dx, top: dy, behavior: "instant" });
      if (node.scrollLeft !== left || node.scrollTop !== top) return true;
    }
    return false;
  }

  const stay = () => { leaving = ""; };

  // What the page remembers beyond what it shows.
  function memory() {
    const stored = (store) => {
      try { return Object.entries(store).sort(); } catch { return []; }
    };
    return JSON.stringify([location.href, stored(localStorage), stored(sessionStorage)]);
  }

  return { settled, memory, stay, locate, prepare, choose, scroll };
})();
