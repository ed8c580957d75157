// The network page: what is wrong, the map, and what is where.
import {byId, element, setText} from './elements.js';
import {draw} from './map.js';

let last = null; // the network
let lit = null; // what was clicked on: its kind and name

// show shows a network.
export function show(net) {
  last = net;
  faults(net);
  summary(net);
  draw(byId('map'), net, chosen(net));
  nodes(net);
  floods(net);
}

export function clear() {
  last = null;
  byId('faults').replaceChildren(element('li', 'empty', 'Asking the nodes.'));
}

// chosen returns the names of the nodes that have what was clicked on, null without that.
function chosen(net) {
  if (!lit) return null;
  const {kind, name} = lit;
  if (kind === 'flood') return new Set(net.Floods?.find((f) => floodKey(f) === name)?.On ?? []);
  const key = {objective: 'Objectives', asa: 'ASAs'}[kind];
  return new Set((net.Nodes ?? []).filter((n) => (n[key] ?? []).includes(name)).map((n) => n.Name));
}

const floodKey = (f) => JSON.stringify([f.Objective, f.Source]);

// faults lists what is wrong.
function faults(net) {
  const all = net.Faults ?? [];
  const bad = all.filter((f) => f.Bad).length;
  setText(byId('faults-count'), all.length ? `${bad} wrong, ${all.length - bad} doubtful` : '');
  if (!all.length) {
    byId('faults').replaceChildren(element('li', 'good', `Nothing is known to be wrong with ${(net.Nodes ?? []).length} nodes.`));
    return;
  }
  byId('faults').replaceChildren(...all.map((f) => element('li', f.Bad ? 'bad' : 'fair',
    f.Node ? element('b', '', element('bdi', '', f.Node)) : null, f.Node ? ' ' : null,
    element('bdi', '', f.Text.startsWith(`${f.Node} `) ? f.Text.slice(f.Node.length + 1) : f.Text))));
}

// summary says how the nodes are protected.
function summary(net) {
  const all = net.Nodes ?? [];
  const count = (f) => all.filter(f).length;
  const parts = [
    [count((n) => n.Status?.Secure && !n.Status.Assumed), 'secure', 'good'],
    [count((n) => n.Status?.Secure && n.Status.Assumed), 'assumed secure', 'fair'],
    [count((n) => !n.Status?.Secure), 'not secure', 'bad'],
  ].filter(([n]) => n > 0);
  byId('summary').replaceChildren(element('b', '', all.length === 1 ? '1 node' : `${all.length} nodes`),
    ...parts.map(([n, word, colour]) => element('span', `badge ${colour}`, `${n} ${word}`)));
}

// chip returns a name that can be clicked on to see where on the map it is.
function chip(kind, name, shown = name) {
  const e = element('button', 'chip', element('bdi', '', shown));
  e.type = 'button';
  e.dataset.kind = kind;
  e.dataset.name = name;
  e.setAttribute('aria-pressed', String(lit?.kind === kind && lit.name === name));
  return e;
}

// Of many names so many are shown.
const most = 12;

const chips = (kind, names) => {
  const out = element('span', 'chips', ...(names ?? []).slice(0, most).map((n) => chip(kind, n)));
  if ((names ?? []).length > most) out.append(` and ${names.length - most} others`);
  return out;
};

// table fills a table, each cell of which is text or an element.
function table(id, columns, rows) {
  const box = byId(id);
  if (!box.querySelector('thead')) {
    box.replaceChildren(element('thead', '', element('tr', '', ...columns.map((c) => element('th', '', c)))), element('tbody'));
  }
  box.querySelector('tbody').replaceChildren(...rows.map(({className, cells}) => {
    const row = element('tr', className);
    cells.forEach((content, n) => {
      const cell = element('td', '', content?.nodeType ? content : element('bdi', '', content));
      cell.dataset.label = columns[n];
      row.append(cell);
    });
    return row;
  }));
}

// linked returns a node's name as a link to its own page.
function linked(n) {
  const a = element('a', '', element('bdi', '', n.Name));
  a.href = n.URL || `#monitor?instance=${encodeURIComponent(n.Name)}`;
  if (n.URL) {
    a.target = '_blank';
    a.rel = 'noopener noreferrer';
  }
  return a;
}

function nodes(net) {
  const worst = new Map();
  for (const f of net.Faults ?? []) if (f.Node && (f.Bad || !worst.has(f.Node))) worst.set(f.Node, f.Bad ? 'fault' : 'doubt');
  table('nodes', ['Node', 'Protection', 'Links', 'Neighbours', 'ASAs', 'Objectives', 'Relayed'], (net.Nodes ?? []).map((n) => ({
    className: worst.get(n.Name) ?? '',
    cells: [
      linked(n), n.Status?.Secure ? (n.Status.Assumed ? 'assumed' : 'secure') : 'none',
      [...(n.Ends ?? []).map((e) => e.Name), ...(n.Unused ?? []).map((i) => `${i.Name} (${i.State})`)].join(', '),
      (n.Neighbours ?? []).map((x) => (x.Node && x.Node !== x.Identity ? `${x.Identity} at ${x.Node}` : x.Identity)).join(', '),
      chips('asa', n.ASAs), chips('objective', n.Objectives), n.Relayed ? String(n.Relayed) : '',
    ],
  })));
}

function floods(net) {
  const all = net.Floods ?? [];
  byId('floods-part').hidden = !all.length;
  table('floods', ['Objective', 'Value', 'Source', 'On', 'Not on'], all.map((f) => ({
    className: '',
    cells: [chip('flood', floodKey(f), f.Objective), f.Value, f.Source, `${f.On.length} of ${f.On.length + (f.Missing ?? []).length}`,
      (f.Missing ?? []).slice(0, most).join(', ')],
  })));
}

byId('network').addEventListener('click', (e) => {
  const button = e.target.closest('.chip');
  if (!button || !last) return;
  const {kind, name} = button.dataset;
  lit = lit?.kind === kind && lit.name === name ? null : {kind, name};
  show(last);
});
addEventListener('resize', () => { if (last) draw(byId('map'), last, chosen(last)); });
