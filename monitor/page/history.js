// The last hour of an instance, in charts.
import {byId, drawing, element, short} from './elements.js';

const width = 300;
const height = 64;
const leastTime = 300; // seconds, that a chart shows at least

// charts are the charts: their title, their unit, and the lines of a history, each with
// a name, a colour and its values.
const charts = [
  {
    title: 'Messages', unit: '/s',
    lines: (h) => [['sent', 'blue', h.Sent], ['received', 'teal', h.Received], ['relayed', 'violet', h.Relayed]],
  },
  {title: 'Bytes', unit: 'B/s', lines: (h) => [['out', 'blue', h.BytesOut], ['in', 'teal', h.BytesIn]]},
  {
    title: 'Dropped', unit: '/s',
    lines: (h) => {
      const sum = (values) => values.reduce((a, b) => a + b, 0);
      const all = Object.entries(h.Reasons ?? {}).sort(([, a], [, b]) => sum(b) - sum(a)).slice(0, 3);
      return all.length ? all.map(([reason, values], n) => [reason, ['rust', 'amber', 'slate'][n], values]) : [['nothing', 'slate', h.Dropped]];
    },
  },
];

// show shows the history of an instance.
export function show(h) {
  const box = byId('history');
  box.hidden = !h;
  if (h) box.replaceChildren(...charts.map((c) => chart(c, h)));
}

// chart returns one of the charts.
function chart({title, unit, lines}, h) {
  const step = h.Step / 1e9;
  const all = lines(h).map(([name, colour, values]) => ({name, colour, rates: (values ?? []).map((n) => n / step)}));
  const top = Math.max(0, ...all.flatMap((l) => l.rates));
  const steps = Math.max(leastTime / step, h.Sent.length);
  const x = (i) => width * (1 - (h.Sent.length - 1 - i) / (steps - 1));
  const y = (rate) => height - 2 - (height - 6) * (top ? rate / top : 0);
  const svg = drawing('svg', {viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: 'none', role: 'img'});
  const legend = element('p', 'legend');
  const words = [];
  for (const l of all) {
    if (l.rates.length > 1) {
      const points = l.rates.map((rate, i) => `${x(i).toFixed(1)},${y(rate).toFixed(1)}`).join(' ');
      const first = x(0).toFixed(1);
      svg.append(drawing('polygon', {points: `${first},${height} ${points} ${width},${height}`, class: `area ${l.colour}`}),
        drawing('polyline', {points, class: `curve ${l.colour}`}));
    }
    const now = l.rates.length ? `${short(l.rates.at(-1))} ${unit}` : '–';
    legend.append(element('span', l.colour, `${l.name} `, element('b', '', now)));
    words.push(`${l.name} ${now}`);
  }
  svg.setAttribute('aria-label', `${title}: ${words.join(', ')}`);
  const figure = element('figure', '', element('figcaption', '', title, element('small', '', `top ${short(top)} ${unit}`)), svg,
    element('p', 'axis', element('span', '', `${Math.round(steps * step / 60)} min ago`), element('span', '', 'now')), legend);
  return figure;
}

export const clear = () => show(null);
