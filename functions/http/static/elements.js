// Building the page. Text only ever enters as text nodes, so nothing in a description or an answer can be markup.

/** An element with attributes (`on…` are listeners) and children: nodes, text, or arrays of them. */
function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.flat(2).filter((child) => child != null && child !== false && child !== ""));
  return element;
}

/** Text in which backticks mark code, as nodes. */
function inline(text) {
  return text.split("`").map((part, index) => (index % 2 ? h("code", {}, part) : part));
}

/** Paragraphs and `- ` lists, as nodes. */
function prose(text) {
  return text
    .split(/\n\n+/)
    .filter((block) => block.trim())
    .map((block) =>
      block.startsWith("- ")
        ? h("ul", {}, block.split(/\n(?=- )/).map((item) => h("li", {}, inline(item.slice(2)))))
        : h("p", {}, inline(block)),
    );
}

/** A code block with a button that copies it; `update(text)` on the result replaces the text. */
function copyable(text, label) {
  const code = h("code", {}, text);
  const button = h("button", { type: "button", class: "copy", "aria-label": `Copy ${label}`, onclick: copy }, "Copy");
  const block = h("div", { class: "copyable" }, h("pre", { tabindex: "0", "aria-label": label }, code), button);

  async function copy() {
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {
      // Without a secure context there is no clipboard: select, so that Ctrl-C does it.
      getSelection().selectAllChildren(code);
      button.textContent = "Selected";
    }
    setTimeout(() => (button.textContent = "Copy"), 1500);
  }

  block.update = (fresh) => (code.textContent = fresh);
  return block;
}

function pretty(value) {
  return JSON.stringify(value, null, 2);
}
