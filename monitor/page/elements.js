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

// byId returns the element with an id.
export const byId = (id) => document.getElementById(id);

// setText changes the text of an element if it is another: an unchanged one
// keeps what the reader has selected.
export function setText(e, text) {
  if (e.textContent !== text) e.textContent = text;
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
