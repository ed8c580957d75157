// The map of a network: nodes, the links that they share, and what is wrong with them.
// It looks the same each time the network does: where things are depends on their
// names and on where they were, on nothing else.
import {drawing} from './elements.js';

const letter = 8.2; // width of one, about
const longest = 16; // letters of a name
const places = new Map(); // by name of a node or a link, in a square of size 1
let settled = ''; // the structure that they were made for

// draw shows a network in an SVG element. lit are the names of nodes to show, or null for all.
export function draw(svg, net, lit) {
  const {width, height} = svg.getBoundingClientRect();
  if (!width || !height) return;
  const bodies = structure(net);
  settle(bodies, width / height);
  const at = fit(bodies, width, height);
  svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
  const worst = worstOf(net);
  const links = drawing('g', {});
  const nodes = drawing('g', {});
  for (const b of bodies.values()) {
    if (b.link) links.append(...drawLink(b, at, net));
    else nodes.append(drawNode(b, at.get(b.key), worst.get(b.node.Name), lit));
  }
  svg.replaceChildren(links, nodes);
}

// worstOf returns how bad the faults of nodes are.
function worstOf(net) {
  const worst = new Map();
  for (const f of net.Faults ?? []) if (f.Node && (f.Bad || !worst.has(f.Node))) worst.set(f.Node, f.Bad ? 'bad' : 'fair');
  return worst;
}

// structure returns what there is to place, by key: nodes, and the links that more or
// less than two share.
function structure(net) {
  const bodies = new Map();
  for (const node of net.Nodes ?? []) bodies.set(`node ${node.Name}`, {key: `node ${node.Name}`, node, near: []});
  (net.Links ?? []).forEach((link) => {
    const ends = link.Ends.map((e) => `node ${e.Node}`);
    const key = `link ${link.Ends.map((e) => `${e.Node} ${e.Link}`).sort()[0]}`;
    bodies.set(key, {key, link, near: ends});
    for (const e of ends) bodies.get(e)?.near.push(key);
  });
  return bodies;
}

// hash returns a number from 0 to 1 for a name.
function hash(name) {
  let h = 2166136261;
  for (const c of name) h = Math.imul(h ^ c.codePointAt(0), 16777619);
  return (h >>> 0) / 2 ** 32;
}

// settle finds a place for each: what belongs together attracts, all else repels.
function settle(bodies, aspect) {
  const all = [...bodies.values()].sort((a, b) => (a.key < b.key ? -1 : 1));
  const known = all.map((b) => `${b.key}:${b.near.join()}`).join('\n');
  if (known === settled) return;
  settled = known;
  const news = all.filter((b) => !places.has(b.key)).length;
  for (const key of places.keys()) if (!bodies.has(key)) places.delete(key);
  for (const b of all) {
    if (places.has(b.key)) continue;
    const friend = b.near.map((k) => places.get(k)).find(Boolean);
    const turn = 2 * Math.PI * hash(b.key);
    places.set(b.key, friend ? {x: friend.x + Math.cos(turn) / 20, y: friend.y + Math.sin(turn) / 20} :
      {x: .5 + Math.cos(turn) * .4, y: .5 + Math.sin(turn) * .4});
  }
  const rounds = Math.round((news ? 400 : 100) * Math.min(1, 120 / all.length));
  const apart = 0.55 / Math.sqrt(all.length || 1);
  for (let round = 0; round < rounds; round++) {
    const heat = .05 * (1 - round / rounds) + .001;
    for (const a of all) {
      const p = places.get(a.key);
      let fx = (.5 - p.x) * .25;
      let fy = (.5 - p.y) * .25;
      for (const b of all) {
        if (a === b) continue;
        const q = places.get(b.key);
        const dx = (p.x - q.x) || (hash(a.key + b.key) - .5) * 1e-3;
        const dy = (p.y - q.y) || (hash(b.key + a.key) - .5) * 1e-3;
        const d2 = Math.max(1e-5, dx * dx + dy * dy);
        fx += dx * apart * apart / d2;
        fy += dy * apart * apart / d2;
      }
      for (const key of a.near) {
        const q = places.get(key);
        if (!q) continue;
        const [dx, dy] = [q.x - p.x, q.y - p.y];
        const d = Math.hypot(dx, dy);
        fx += dx * d / apart;
        fy += dy * d / apart;
      }
      const f = Math.hypot(fx, fy) || 1;
      p.x += fx / f * Math.min(f, heat);
      p.y += fy / f * Math.min(f, heat);
    }
  }
}

// fit returns where on the screen all is: the box is filled, and no node covers another.
function fit(bodies, width, height) {
  const list = [...bodies.keys()].map((key) => places.get(key));
  const [left, right] = [Math.min(...list.map((p) => p.x)), Math.max(...list.map((p) => p.x))];
  const [top, bottom] = [Math.min(...list.map((p) => p.y)), Math.max(...list.map((p) => p.y))];
  const margin = {x: 72, y: 40};
  const scale = (v, from, to, size, edge) => (to - from < 1e-6 ? size / 2 : edge + (v - from) / (to - from) * (size - 2 * edge));
  const at = new Map();
  for (const key of bodies.keys()) {
    const p = places.get(key);
    at.set(key, {x: scale(p.x, left, right, width, margin.x), y: scale(p.y, top, bottom, height, margin.y)});
  }
  const nodes = [...bodies.values()].sort((a, b) => (a.key < b.key ? -1 : 1));
  for (let round = 0; round < 60; round++) {
    for (const a of nodes) {
      for (const b of nodes) {
        if (a.key >= b.key || (a.link && b.link)) continue;
        const [p, q] = [at.get(a.key), at.get(b.key)];
        const wide = (a.link ? 12 : half(a.node)) + (b.link ? 12 : half(b.node)) + 12;
        const high = a.link || b.link ? 36 : 52;
        const [ox, oy] = [wide - Math.abs(p.x - q.x), high - Math.abs(p.y - q.y)];
        if (ox <= 0 || oy <= 0) continue;
        if (oy * 2 < ox) {
          const way = p.y < q.y ? -1 : 1;
          p.y += way * oy / 4;
          q.y -= way * oy / 4;
        } else {
          const way = p.x < q.x ? -1 : 1;
          p.x += way * ox / 4;
          q.x -= way * ox / 4;
        }
      }
    }
    for (const p of at.values()) {
      p.x = Math.min(width - margin.x, Math.max(margin.x, p.x));
      p.y = Math.min(height - margin.y, Math.max(margin.y - 12, p.y));
    }
  }
  return at;
}

const shorten = (name) => (name.length > longest ? `${name.slice(0, longest - 1)}…` : name);

// below returns the second line of a node.
function below(node) {
  if (!node.Time || node.Time.startsWith('0001-')) return 'unknown';
  if (node.Trouble) return 'no answer';
  if (node.Closed) return 'closed';
  if (node.Relayed) return `relayed ${node.Relayed}`;
  const n = (node.ASAs ?? []).length;
  return n === 0 ? 'no ASA' : n === 1 ? '1 ASA' : `${n} ASAs`;
}

const half = (node) => Math.max(shorten(node.Name).length * letter + 30, below(node).length * 6 + 14, 66) / 2;

const text = (x, y, className, what) => drawing('text', {x, y, class: className}, what);

function drawNode(b, {x, y}, worst, lit) {
  const {node} = b;
  const dim = lit && !lit.has(node.Name);
  const group = drawing('a', {class: `node ${worst ?? ''} ${dim ? 'dim' : ''} ${lit && !dim ? 'lit' : ''}`, href: node.URL || `#monitor?instance=${encodeURIComponent(node.Name)}`});
  if (node.URL) {
    group.setAttribute('target', '_blank');
    group.setAttribute('rel', 'noopener noreferrer');
  }
  const w = half(node);
  const safe = !node.Status?.Secure ? 'bad' : node.Status.Assumed ? 'fair' : 'good';
  (node.Unused ?? []).slice(0, 2).forEach((i, n) => {
    const down = y + 17 + 12 * (n + 1);
    group.append(text(x, down, 'unused', `${shorten(i.Name)}: ${i.State}`));
  });
  group.append(drawing('rect', {x: x - w, y: y - 18, width: 2 * w, height: 36, rx: 9}),
    drawing('circle', {cx: x - w + 11, cy: y - 5, r: 4, class: `safe ${safe}`}),
    text(x + 7, y - 1, 'name', shorten(node.Name)), text(x, y + 12, 'below', below(node)),
    drawing('title', {}, `${node.Name}: ${node.Status?.Reason ?? ''}`));
  return group;
}

// drawLink returns a link: a line between two nodes, or lines from all to a point.
function drawLink(b, at, net) {
  const out = [];
  const middle = at.get(b.key);
  const ends = b.link.Ends.map((e) => ({...e, at: at.get(`node ${e.Node}`), node: net.Nodes.find((n) => n.Name === e.Node)}));
  const lonely = ends.length === 1 && !b.link.Strangers;
  for (const e of ends) {
    if (!e.at) continue;
    const fault = (e.node.Ends ?? []).find((x) => x.Name === e.Link)?.Fault ?? '';
    const proven = (e.node.Neighbours ?? []).length > 0;
    const line = drawing('line', {x1: e.at.x, y1: e.at.y, x2: middle.x, y2: middle.y, class: `wire ${fault ? 'bad' : lonely ? 'lonely' : proven ? 'good' : ''}`});
    line.append(drawing('title', {}, `${e.Node}: ${e.Link} ${fault}`));
    out.push(line);
  }
  const names = [...new Set(ends.map((e) => e.Link))];
  const label = names.length === 1 ? names[0] : names.slice(0, 3).join(' – ');
  out.push(drawing('circle', {cx: middle.x, cy: middle.y, r: lonely ? 3 : 4.5, class: `hub ${lonely ? 'lonely' : ''}`}),
    text(middle.x, middle.y - 8, 'link', shorten(label)));
  if (b.link.Strangers) out.push(text(middle.x, middle.y + 17, 'link', b.link.Strangers === 1 ? '1 other' : `${b.link.Strangers} others`));
  return out;
}
