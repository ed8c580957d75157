// The state of an instance: each figure is one of its Snapshot's, and has the
// path to it there in data-figure.
import {byId, clock, duration, element, setPick, setText, short} from './elements.js';

let chosen = ''; // the name of the instance to show; empty: the first
let only = new URLSearchParams(); // what the rows shown have to do with
let state = null; // the last one
let whenFirst = () => {};

export function choose(query) {
  chosen = query.get('instance') ?? '';
  only = query;
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
  remember();
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
  const [word, colour] = protection(s.Status);
  setText(security, word);
  security.className = `badge ${colour}`;
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

// protection returns what is known of the protection, and how good that is.
function protection(status) {
  if (!status.Secure) return ['not secure', 'bad'];
  return status.Assumed ? ['assumed secure', 'fair'] : ['secure', 'good'];
}

// rates are from counters some seconds ago.
const rateTime = 10000;
let samples = []; // of the counters of all instances, the oldest first

function remember() {
  const time = +new Date(state.Time);
  const counters = new Map((state.Instances ?? []).map((i) => [i.Name, i.Snapshot]));
  samples.push({time, counters});
  while (samples.length > 1 && (samples[1].time <= time - rateTime || samples[0].time > time)) samples.shift();
}

// rate returns how fast a counter rises, and nothing if it does not.
function rate(instance, count) {
  const [first, last] = [samples[0], samples.at(-1)];
  if (!first.counters.has(instance) || first === last) return '';
  const more = count(last.counters.get(instance)) - count(first.counters.get(instance));
  return more > 0 ? `${short(more * 1000 / (last.time - first.time))}/s` : '';
}

// plain returns an address without its zone.
const plain = (address) => address.replace(/%[^\]:]*/, '');

// hostOf returns the part of an address and port that says which host.
export function hostOf(address) {
  const end = address.startsWith('[') ? address.indexOf(']') + 1 : address.lastIndexOf(':') + 1;
  return plain(end > 0 ? address.slice(0, end) : address);
}

// hasToDoWith reports whether a row passes the filter. What it is about may be an
// objective, a peer and a session; the rest of the filter does not concern it.
function hasToDoWith(about, cells) {
  const is = (what, same) => !only.get(what) || about[what] === undefined || same(about[what], only.get(what));
  const text = only.get('text')?.toLowerCase();
  return is('objective', (a, b) => a === b) && is('session', (a, b) => a === b) &&
    is('peer', (a, b) => plain(a).includes(plain(b))) &&
    (!text || Object.values(cells).some((v) => String(v).toLowerCase().includes(text)));
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

// parts are the tables: their title, the path of their rows, their columns, the cells of
// a row, each with the last part of its path, and what it is about. Of a keyed table the
// rows are made from the snapshot. Only those that have something are shown of the rare.
const parts = [
  {
    title: 'Links', path: 'Links', columns: ['Link', 'Index', 'Address'],
    cells: (l) => ({Name: l.Name, Index: l.Index, Addr: l.Addr}),
  },
  {title: 'ASAs', path: 'ASAs', columns: ['Name'], cells: (name) => ({Name: name})},
  {
    title: 'Interfaces', path: 'Interfaces', columns: ['Interface', 'Index', 'State', 'Detail'],
    cells: (i) => ({Name: i.Name, Index: i.Index, State: i.State, Detail: i.Detail}),
    mark: (i) => (i.State === 'in use' ? '' : 'quiet'),
  },
  {
    title: 'Neighbours', path: 'Neighbours', columns: ['Identity', 'Link', 'Address', 'Since', 'Slow'], rare: (s) => s.Refused,
    cells: (n) => ({Identity: n.Identity, Link: n.Link, Addr: n.Addr, Since: clock(n.Since), Slow: n.Slow}),
    about: (n) => ({peer: n.Addr}),
  },
  {
    title: 'Refused lately', path: 'Refusals', columns: ['Identity', 'Address', 'Reason', 'At'], rare: (s) => s.Refused,
    cells: (r) => ({Identity: r.Identity || 'unknown', Peer: r.Peer, Reason: r.Reason, Time: clock(r.Time)}),
    about: (r) => ({peer: r.Peer}), mark: () => 'fault',
  },
  {
    title: 'Refused in all', path: 'Refused', columns: ['Reason', 'Count', 'Rate'], keyed: true, rare: (s) => s.Refused,
    rows: (s, name) => Object.keys(s.Refused ?? {}).sort()
      .map((reason) => [reason, {Reason: reason, Count: s.Refused[reason], Rate: rate(name, (c) => c.Refused?.[reason] ?? 0)}]),
  },
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
    about: (o) => ({objective: o.Name}), picks: {Name: 'objective'},
  },
  {
    title: 'Sessions', path: 'Sessions', columns: ['ID', 'Objective', 'ASA', 'Role', 'Peer'],
    cells: (n) => ({ID: n.ID, Objective: n.Objective, ASA: n.ASA || 'waiting', Role: n.Initiator ? 'asks' : 'answers', Peer: n.Peer}),
    about: (n) => ({objective: n.Objective, peer: n.Peer, session: String(n.ID)}),
  },
  {
    title: 'Discovery cache', path: 'Locators', columns: ['Objective', 'Locator', 'Diverted', 'Time left'],
    cells: (l) => ({
      Objective: l.Objective, Locator: locator(l.Locator), Diverted: l.Locator.Diverted ? 'yes' : 'no', Left: left(l.Locator.Expire),
    }),
    about: (l) => ({objective: l.Objective, peer: locator(l.Locator)}),
  },
  {
    title: 'Flood cache', path: 'Floods', columns: ['Objective', 'Value', 'Source', 'Loops', 'Time left'],
    cells: (f) => ({Objective: f.Objective, Value: f.Value, Source: locator(f.Source), LoopCount: f.LoopCount, Left: left(f.Source.Expire)}),
    about: (f) => ({objective: f.Objective, peer: locator(f.Source)}),
  },
  {
    title: 'Messages', path: 'Messages', columns: ['Type', 'Sent', 'Received', 'Relayed', 'Rate'], keyed: true,
    rows: (s, name) => [...new Set([...Object.keys(s.Sent), ...Object.keys(s.Received), ...Object.keys(s.Relayed)])].sort()
      .map((type) => [type, {
        Type: type, Sent: s.Sent[type] ?? 0, Received: s.Received[type] ?? 0, Relayed: s.Relayed[type] ?? 0,
        Rate: rate(name, (c) => (c.Sent[type] ?? 0) + (c.Received[type] ?? 0) + (c.Relayed[type] ?? 0)),
      }]),
  },
  {
    title: 'Dropped', path: 'Dropped', columns: ['Reason', 'Count', 'Rate'], keyed: true,
    rows: (s, name) => Object.keys(s.Dropped).sort()
      .map((reason) => [reason, {Reason: reason, Count: s.Dropped[reason], Rate: rate(name, (c) => c.Dropped[reason] ?? 0)}]),
  },
];

const numbers = new Set(['Index', 'Waiting', 'Loops', 'TTL', 'Time left', 'Sent', 'Received', 'Relayed', 'Count', 'Rate', 'Slow']);

// clickable are the cells that a click picks, and as what.
const clickable = {Objective: 'objective', Peer: 'peer', Addr: 'peer', Locator: 'peer', Source: 'peer', ID: 'session'};

function tables(i) {
  const box = byId('tables');
  parts.forEach((part, n) => {
    const section = box.children[n] ?? box.appendChild(skeleton(part));
    section.hidden = Boolean(part.rare && !part.rare(i.Snapshot));
    const rows = part.keyed ? part.rows(i.Snapshot, i.Name).map(([key, cells]) => ({key, cells, about: {}})) :
      (i.Snapshot[part.path] ?? []).map((row, key) => ({
        key, cells: part.cells(row), about: part.about?.(row) ?? {}, mark: part.mark?.(row) ?? '',
      }));
    const count = section.querySelector('.count');
    const total = part.keyed ? rows.length : i.Counts[part.path];
    if (!part.keyed) count.dataset.figure = `Counts.${part.path}`;
    setText(count, part.keyed ? '' : String(total));
    const shown = rows.filter((r) => (r.show = hasToDoWith(r.about, r.cells))).length;
    section.querySelector('.cut').hidden = total <= shown;
    setText(section.querySelector('.cut'), shown < rows.length ? `${shown} with the filter` : `the first ${rows.length} are shown`);
    section.querySelector('.none').hidden = rows.length > 0;
    section.querySelector('.wide').hidden = shown === 0;
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
  rows.forEach(({key, cells, show, mark}, n) => {
    const row = body.children[n] ?? body.appendChild(element('tr'));
    row.hidden = !show;
    row.className = mark ?? '';
    Object.entries(cells).forEach(([name, value], k) => {
      const text = String(value ?? '');
      const cell = row.children[k] ?? row.appendChild(emptyCell(part, name, k));
      if (name !== 'Rate') cell.dataset.figure = `${part.path}.${key}.${name}`;
      const holder = cell.firstElementChild;
      if (holder.dataset.pick) setPick(holder, holder.dataset.pick, holder.dataset.pick === 'peer' ? hostOf(text) : text);
      setText(holder.dataset.pick ? holder.firstElementChild : holder, text);
    });
  });
}

// emptyCell returns a cell of a column, which may be one to click on.
function emptyCell(part, name, k) {
  const what = part.picks?.[name] ?? (part.about ? clickable[name] : undefined);
  const holder = what ? element('button', 'pick', element('bdi')) : element('bdi');
  if (what) {
    holder.type = 'button';
    holder.dataset.pick = what;
  }
  const cell = element('td', numbers.has(part.columns[k]) ? 'number' : '', holder);
  cell.dataset.column = name;
  cell.dataset.label = part.columns[k];
  return cell;
}
