// The state of an instance: each figure is one of its Snapshot's, and has the
// path to it there in data-figure.
import {byId, duration, element, setText} from './elements.js';

let chosen = ''; // the name of the instance to show; empty: the first
let state = null; // the last one
let whenFirst = () => {};

export function choose(name) {
  chosen = name;
  if (state) show(state);
}

// first returns the name of the first instance, empty while that is unknown.
export const first = () => state?.Instances?.[0]?.Name ?? '';

// onFirst has f called when that changes.
export function onFirst(f) {
  whenFirst = f;
}

// show shows a state.
export function show(next) {
  const before = first();
  state = next;
  const all = state.Instances ?? [];
  const one = all.find((i) => i.Name === chosen) ?? all[0];
  tabs(all, one);
  if (one) {
    header(one);
    tables(one);
  } else {
    byId('status').replaceChildren(element('p', 'empty', 'No instance is watched.'));
    byId('tables').replaceChildren();
  }
  if (!chosen && first() !== before) whenFirst();
}

function tabs(all, one) {
  const list = byId('instances');
  list.hidden = all.length < 2;
  while (list.childElementCount > all.length) list.lastElementChild.remove();
  all.forEach((i, n) => {
    const tab = list.children[n] ?? list.appendChild(element('button', '', element('bdi'), element('small', '', element('bdi'))));
    tab.type = 'button';
    tab.dataset.name = i.Name;
    setText(tab.firstElementChild, i.Name);
    setText(tab.lastElementChild.firstElementChild, (i.Snapshot.ASAs ?? []).slice(0, 3).join(', '));
    tab.setAttribute('aria-pressed', String(i === one));
  });
}

// header shows what there is one of.
function header(i) {
  const s = i.Snapshot;
  const box = byId('status');
  if (!box.querySelector('dl')) {
    box.replaceChildren(element('p', 'badges', element('span', 'badge'), element('span', 'badge'), element('span', 'reason')),
      element('dl', ''));
  }
  const [security, running, reason] = box.querySelectorAll('.badges > span');
  setText(security, s.Status.Secure ? 'secure' : 'not secure');
  security.className = `badge ${s.Status.Secure ? 'good' : 'bad'}`;
  security.dataset.figure = 'Status.Secure';
  setText(running, i.Closed ? 'closed' : 'running');
  running.className = `badge ${i.Closed ? 'bad' : 'good'}`;
  running.dataset.figure = 'Closed';
  setText(reason, s.Status.Reason);
  reason.dataset.figure = 'Status.Reason';
  const figures = [
    ['Address', 'Address', s.Address || 'link-local only'], ['Port', 'Port', String(s.Port)],
    ['Sessions', 'Counts.Sessions', String(i.Counts.Sessions)], ['Session IDs', 'SessionIDs', String(s.SessionIDs)],
    ['Discoveries', 'Searches', String(s.Searches)], ['Responses', 'Responses', String(s.Responses)],
    ['Connections', 'Streams', String(s.Streams)], ['Undecided', 'Pending', String(s.Pending)],
    ['Trouble with links', 'LinkTrouble', s.LinkTrouble || 'none'],
  ];
  const list = box.querySelector('dl');
  figures.forEach(([name, path, value], n) => {
    const pair = list.children[n] ?? list.appendChild(element('div', '', element('dt', '', name), element('dd', '')));
    pair.lastElementChild.dataset.figure = path;
    setText(pair.lastElementChild, value);
  });
}

// left returns the time left until a time, never if that is zero.
function left(expire) {
  if (!expire || expire.startsWith('0001-')) return 'for ever';
  return duration(Math.max(0, new Date(expire) - new Date(state.Time)) * 1e6);
}

// locator returns a locator as the library prints it.
function locator(l) {
  let s;
  if (l.IP) s = `${l.IP.includes(':') ? `[${l.IP}]` : l.IP}:${l.Port}`;
  else if (l.FQDN) s = `${l.FQDN}:${l.Port}`;
  else if (l.URI) s = l.Port ? `${l.URI} port ${l.Port}` : l.URI;
  else return 'no locator';
  if (l.Protocol === 0 || l.Protocol === 6) return s;
  return `${s}/${l.Protocol === 17 ? 'udp' : l.Protocol}`;
}

const yes = (...pairs) => pairs.filter(([on]) => on).map(([, word]) => word).join(', ');

// parts are the tables: their title, the path of their rows, their columns, and the
// cells of a row, each with the last part of its path.
const parts = [
  {
    title: 'Links', path: 'Links', columns: ['Link', 'Index', 'Address'],
    cells: (l) => ({Name: l.Name, Index: l.Index, Addr: l.Addr}),
  },
  {
    title: 'Interfaces', path: 'Interfaces', columns: ['Interface', 'Index', 'State', 'Detail'],
    cells: (i) => ({Name: i.Name, Index: i.Index, State: i.State, Detail: i.Detail}),
  },
  {title: 'ASAs', path: 'ASAs', columns: ['Name'], cells: (name) => ({Name: name})},
  {
    title: 'Objectives', path: 'Objectives',
    columns: ['Name', 'ASAs', 'For', 'Listening', 'Waiting', 'Loops', 'TTL', 'Value'],
    cells: (o) => ({
      Name: o.Name, ASAs: (o.ASAs ?? []).join(', '),
      Flags: yes([o.Neg, 'negotiation'], [o.Dry, 'dry run'], [o.Synch, 'synch']),
      Listening: yes([o.Negotiating, 'negotiation'], [o.Synchronizing, 'synch'],
        [o.Discoverable && !o.Negotiating && !o.Synchronizing, 'discovery']),
      Waiting: o.Waiting, LoopCount: o.LoopCount, TTL: duration(o.TTL), Value: o.Value,
    }),
  },
  {
    title: 'Sessions', path: 'Sessions', columns: ['ID', 'Objective', 'ASA', 'Role', 'Peer'],
    cells: (n) => ({ID: n.ID, Objective: n.Objective, ASA: n.ASA || 'waiting', Role: n.Initiator ? 'asks' : 'answers', Peer: n.Peer}),
  },
  {
    title: 'Discovery cache', path: 'Locators', columns: ['Objective', 'Locator', 'Diverted', 'Time left'],
    cells: (l) => ({
      Objective: l.Objective, Locator: locator(l.Locator), Diverted: l.Locator.Diverted ? 'yes' : 'no', Left: left(l.Locator.Expire),
    }),
  },
  {
    title: 'Flood cache', path: 'Floods', columns: ['Objective', 'Value', 'Source', 'Loops', 'Time left'],
    cells: (f) => ({Objective: f.Objective, Value: f.Value, Source: locator(f.Source), LoopCount: f.LoopCount, Left: left(f.Source.Expire)}),
  },
  {
    title: 'Messages', path: 'Messages', columns: ['Type', 'Sent', 'Received', 'Relayed'], keyed: true,
    rows: (s) => [...new Set([...Object.keys(s.Sent), ...Object.keys(s.Received), ...Object.keys(s.Relayed)])].sort()
      .map((type) => [type, {Type: type, Sent: s.Sent[type] ?? 0, Received: s.Received[type] ?? 0, Relayed: s.Relayed[type] ?? 0}]),
  },
  {
    title: 'Dropped', path: 'Dropped', columns: ['Reason', 'Count'], keyed: true,
    rows: (s) => Object.keys(s.Dropped).sort().map((reason) => [reason, {Reason: reason, Count: s.Dropped[reason]}]),
  },
];

const numbers = new Set(['Index', 'Waiting', 'Loops', 'TTL', 'Time left', 'Sent', 'Received', 'Relayed', 'Count']);

function tables(i) {
  const box = byId('tables');
  parts.forEach((part, n) => {
    const section = box.children[n] ?? box.appendChild(skeleton(part));
    const rows = part.keyed ? part.rows(i.Snapshot) :
      (i.Snapshot[part.path] ?? []).map((row, k) => [k, part.cells(row)]);
    const count = section.querySelector('.count');
    const total = part.keyed ? rows.length : i.Counts[part.path];
    if (!part.keyed) count.dataset.figure = `Counts.${part.path}`;
    setText(count, part.keyed ? '' : String(total));
    section.querySelector('.cut').hidden = total <= rows.length;
    setText(section.querySelector('.cut'), `the first ${rows.length} are shown`);
    section.querySelector('table').hidden = rows.length === 0;
    section.querySelector('.none').hidden = rows.length > 0;
    fill(section.querySelector('tbody'), part, rows);
  });
}

// skeleton returns a table without rows.
function skeleton(part) {
  const head = element('tr', '', ...part.columns.map((c) => {
    const th = element('th', numbers.has(c) ? 'number' : '', c);
    th.scope = 'col';
    return th;
  }));
  return element('section', `part-${part.path.toLowerCase()}`,
    element('h2', '', part.title, element('span', 'count'), element('small', 'cut')),
    element('p', 'none', 'none'),
    element('div', 'wide', element('table', '', element('thead', '', head), element('tbody'))));
}

function fill(body, part, rows) {
  while (body.childElementCount > rows.length) body.lastElementChild.remove();
  rows.forEach(([key, cells], n) => {
    const row = body.children[n] ?? body.appendChild(element('tr'));
    Object.entries(cells).forEach(([name, value], k) => {
      const cell = row.children[k] ?? row.appendChild(element('td', numbers.has(part.columns[k]) ? 'number' : '', element('bdi')));
      cell.dataset.figure = `${part.path}.${key}.${name}`;
      cell.dataset.column = name;
      setText(cell.firstElementChild, String(value ?? ''));
    });
  });
}
