// What the other files make the page of. What ASAs and peers say gets into the
// page as text only.

// element returns an element with a class and, as its content, text and other
// elements.
export function element(tag, className, ...content) {
  const e = document.createElement(tag);
  if (className) e.className = className;
  e.append(...content.filter((c) => c !== null && c !== undefined && c !== ''));
  return e;
}

// drawing returns an element of SVG with attributes.
export function drawing(tag, attributes, ...content) {
  const e = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) e.setAttribute(name, value);
  e.append(...content);
  return e;
}

// byId returns the element with an id.
export const byId = (id) => document.getElementById(id);

// setText changes the text of an element if it is another: an unchanged one
// keeps what the reader has selected.
export function setText(e, text) {
  if (e.textContent !== text) e.textContent = text;
}

// pick returns a name that can be clicked on to see only what has to do with it.
export function pick(what, value) {
  const e = element('button', 'pick', element('bdi', '', value));
  e.type = 'button';
  setPick(e, what, value);
  return e;
}

// setPick changes what a click is on.
export function setPick(e, what, value) {
  e.dataset.pick = what;
  e.dataset.value = value;
  e.title = `only this ${what}`;
}

// clock returns the time of day.
export function clock(time, digits = 0) {
  const t = new Date(time);
  const two = (n) => String(n).padStart(2, '0');
  const text = `${two(t.getHours())}:${two(t.getMinutes())}:${two(t.getSeconds())}`;
  return digits ? `${text}.${String(t.getMilliseconds()).padStart(3, '0')}` : text;
}

// duration returns nanoseconds in words.
export function duration(ns) {
  const s = ns / 1e9;
  if (s < 10) return `${Math.round(s * 10) / 10} s`;
  if (s < 120) return `${Math.round(s)} s`;
  if (s < 7200) return `${Math.round(s / 60)} min`;
  return `${Math.round(s / 3600)} h`;
}

// short returns a number in few digits.
export function short(n) {
  for (const [size, letter] of [[1e9, 'G'], [1e6, 'M'], [1e3, 'k']]) {
    if (n >= size) return `${Number((n / size).toPrecision(3))} ${letter}`;
  }
  return String(n >= 100 ? Math.round(n) : Number(n.toPrecision(2)));
}

// shade returns the class of the colour that a name has, the same every time:
// that of its turn.
const shades = new Map();
export function shade(name) {
  if (!shades.has(name)) {
    if (shades.size >= 1000) shades.clear();
    shades.set(name, `shade-${shades.size % 8}`);
  }
  return shades.get(name);
}

// atMost removes the first children of an element that are too many.
export function atMost(e, most) {
  while (e.childElementCount > most) e.firstElementChild.remove();
}
