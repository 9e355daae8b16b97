// A scriptable MCP server that speaks HTTP/1.1 on raw sockets, so that a test can
// put any byte, gap or cut on the wire. Left alone it is a correct server of the
// era asked for; `when(kind, action)` makes it misbehave. It keeps a log of every
// request (`exchanges`) and counts what its tools really did (`ran`).
import net from 'node:net';
import tls from 'node:tls';
import { randomUUID } from 'node:crypto';
import { until } from './wait.mjs';

const REASON = { 200: 'OK', 202: 'Accepted', 400: 'Bad Request', 401: 'Unauthorized', 403: 'Forbidden', 404: 'Not Found', 405: 'Method Not Allowed', 409: 'Conflict', 429: 'Too Many Requests', 500: 'Internal Server Error', 502: 'Bad Gateway', 503: 'Service Unavailable' };

/** The id as it stands in the bytes: a parsed number may have lost digits. */
function idToken(text) {
	const m = /"id"\s*:\s*("(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*)/.exec(text);
	return m ? m[1] : 'null';
}

/** RST where the socket can do that; TLS hides the descriptor. */
function reset(socket) { if (socket.encrypted) socket.destroy(); else socket.resetAndDestroy(); }

/** One HTTP request and the ways to answer it. */
export class Exchange {
	constructor(connection, head, headers, body) {
		const [method, target, protocol] = head.split(' ');
		const url = new URL(target, 'http://server');
		Object.assign(this, { connection, method, target, protocol, headers, body, at: Date.now(), path: url.pathname, query: url.searchParams });
		this.head = head;
		this.text = body.toString('utf8');
		if (method === 'POST') {
			try { this.message = JSON.parse(this.text); } catch { /* left undefined: the test sees it in `text` */ }
		}
	}

	get kind() {
		if (this.method !== 'POST') return this.method;
		const m = this.message;
		if (Array.isArray(m)) return 'batch';
		if (m?.method) return m.method;
		return m && ('result' in m || 'error' in m) ? 'answer' : 'unparsed';
	}
	get tool() { return this.kind === 'tools/call' ? this.message.params?.name : undefined; }
	get id() { return idToken(this.text); }
	get open() { return !this.connection.socket.destroyed && this.connection.socket.writable; }

	write(bytes) { if (this.open) this.connection.socket.write(bytes); return this; }
	/** A whole answer with a length. */
	reply(status, headers = {}, body = '') {
		const data = Buffer.isBuffer(body) ? body : Buffer.from(body);
		this.status = status;
		const lines = Object.entries({ 'Content-Length': data.length, ...headers }).flatMap(([k, v]) => [].concat(v).map((x) => `${k}: ${x}`));
		this.write(Buffer.concat([Buffer.from(`HTTP/1.1 ${status} ${REASON[status] ?? 'Status'}\r\n${lines.join('\r\n')}\r\n\r\n`), data]));
		return this.done();
	}
	json(value, { status = 200, headers = {} } = {}) {
		return this.reply(status, { 'Content-Type': 'application/json', ...headers }, typeof value === 'string' ? value : JSON.stringify(value));
	}
	result(value, options) { return this.json(this.envelope({ result: value }), options); }
	error(code, message, options) { return this.json(this.envelope({ error: { code, message } }), options); }
	/** An answer to this request as text, its id in the very bytes it came in. */
	envelope(member) { return `{"jsonrpc":"2.0","id":${this.id},${JSON.stringify(member).slice(1)}`; }
	stream(options) { return new EventStream(this, options); }
	/** Sends RST. */
	reset() { reset(this.connection.socket); return this; }
	fin() { this.connection.socket.end(); return this; }
	/** Never answers, and keeps the connection. */
	silence() { this.silent = true; return this; }
	/** The connection may carry the next request. */
	done() { this.connection.busy = false; this.connection.parse(); return this; }
}

/** A text/event-stream answer. */
export class EventStream {
	constructor(exchange, { chunked = true, headers = {}, status = 200 } = {}) {
		this.exchange = exchange;
		this.chunked = chunked;
		exchange.status = status;
		const lines = { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-cache', ...(chunked ? { 'Transfer-Encoding': 'chunked' } : { Connection: 'close' }), ...headers };
		exchange.write(`HTTP/1.1 ${status} OK\r\n${Object.entries(lines).map(([k, v]) => `${k}: ${v}\r\n`).join('')}\r\n`);
		exchange.connection.socket.on('close', () => { this.closed = true; });
	}
	get open() { return !this.closed && !this.ended && this.exchange.open; }
	raw(bytes) {
		const data = Buffer.from(bytes);
		if (!this.open || data.length === 0) return this;
		this.exchange.write(this.chunked ? Buffer.concat([Buffer.from(`${data.length.toString(16)}\r\n`), data, Buffer.from('\r\n')]) : data);
		return this;
	}
	event({ id, event, retry, data }) {
		let s = '';
		if (event !== undefined) s += `event: ${event}\n`;
		if (id !== undefined) s += `id: ${id}\n`;
		if (retry !== undefined) s += `retry: ${retry}\n`;
		if (data !== undefined) s += `data: ${typeof data === 'string' ? data : JSON.stringify(data)}\n`;
		return this.raw(s + '\n');
	}
	comment(text = '') { return this.raw(`:${text}\n\n`); }
	/** The proper end of the body. */
	end() {
		if (!this.open) return this;
		this.ended = true;
		if (this.chunked) { this.exchange.write('0\r\n\r\n'); this.exchange.done(); } else this.exchange.fin();
		return this;
	}
	reset() { this.exchange.reset(); this.closed = true; return this; }
	/** FIN without the end of the chunked body. */
	fin() { this.ended = true; this.exchange.connection.socket.destroy(); return this; }
}

/** A logical stream of one session: with event ids it outlives its connections. */
class Channel {
	constructor(session, name, ids) { Object.assign(this, { session, name, ids, log: [], finished: false, out: null }); }
	attach(out, after = -1) {
		this.out = out;
		if (this.ids) for (const e of this.log.slice(after + 1)) out.event(e);
		if (this.finished) out.end();
	}
	prime(retry) { const e = this.#record(''); this.out?.event({ ...e, retry }); }
	send(data) {
		const e = this.#record(typeof data === 'string' ? data : JSON.stringify(data));
		if (this.out?.open) this.out.event(this.ids ? e : { event: 'message', data: e.data });
	}
	finish() { this.finished = true; if (this.out?.open) this.out.end(); }
	#record(data) {
		const e = { id: `${this.name}-${this.log.length}`, data };
		if (this.ids) this.log.push(e);
		return e;
	}
}

class Session {
	constructor(id, version) { Object.assign(this, { id, version, channels: new Map(), subscriptions: new Set(), legacy: false }); }
}

class Connection {
	constructor(server, socket) {
		Object.assign(this, { server, socket, buffer: Buffer.alloc(0), busy: false, served: 0, received: 0 });
		socket.on('data', (d) => {
			this.received += d.length;
			if (this.onData?.(d) === true) return;
			this.buffer = Buffer.concat([this.buffer, d]);
			this.parse();
		});
		socket.on('error', () => {});
		socket.on('end', () => socket.destroy());
		socket.on('close', () => server.connections.delete(this));
	}
	parse() {
		if (this.busy || this.socket.destroyed) return;
		const end = this.buffer.indexOf('\r\n\r\n');
		if (end < 0) return;
		const [head, ...lines] = this.buffer.subarray(0, end).toString('latin1').split('\r\n');
		const headers = {};
		for (const l of lines) {
			const c = l.indexOf(':'), name = l.slice(0, c).toLowerCase(), value = l.slice(c + 1).trim();
			headers[name] = name in headers ? `${headers[name]}, ${value}` : value;
		}
		if (this.headSeen !== end + 4 || this.headOf !== this.served) {
			this.headSeen = end + 4;
			this.headOf = this.served;
			if (this.server.onHead?.(head, headers, this) === true) { this.busy = true; return; }
		}
		const body = this.#body(end + 4, headers);
		if (body === undefined) return;
		this.busy = true;
		this.served++;
		this.server.accept(new Exchange(this, head, headers, body));
	}
	/** Takes the body off the buffer, or undefined while it is not whole. */
	#body(start, headers) {
		if (!/chunked/i.test(headers['transfer-encoding'] ?? '')) {
			const n = Number(headers['content-length'] ?? 0);
			if (this.buffer.length < start + n) return undefined;
			const body = this.buffer.subarray(start, start + n);
			this.buffer = this.buffer.subarray(start + n);
			return body;
		}
		const parts = [];
		for (let at = start; ;) {
			const eol = this.buffer.indexOf('\r\n', at);
			if (eol < 0) return undefined;
			const n = parseInt(this.buffer.subarray(at, eol).toString('latin1'), 16);
			if (this.buffer.length < eol + 2 + n + 2) return undefined;
			if (n === 0) { this.buffer = this.buffer.subarray(eol + 4); return Buffer.concat(parts); }
			parts.push(this.buffer.subarray(eol + 2, eol + 2 + n));
			at = eol + 2 + n + 2;
		}
	}
}

const VERSIONS = ['2024-11-05', '2025-03-26', '2025-06-18', '2025-11-25'];

/** The tools of every server here. `append` alone has a side effect that matters. */
export const TOOLS = [
	{ name: 'echo', description: 'says it again', inputSchema: { type: 'object' }, annotations: { readOnlyHint: true } },
	{ name: 'append', description: 'adds a line, each time anew', inputSchema: { type: 'object' } },
	{ name: 'put', description: 'sets a value', inputSchema: { type: 'object' }, annotations: { idempotentHint: true } },
	{ name: 'slow', description: 'takes a while', inputSchema: { type: 'object' }, annotations: { readOnlyHint: true } },
	{ name: 'steps', description: 'tells how far it is', inputSchema: { type: 'object' } },
	{ name: 'ask', description: 'asks the client', inputSchema: { type: 'object' } },
];

const text = (value) => ({ content: [{ type: 'text', text: String(value) }] });

/**
 * Options: mode 'http' | 'sse' | 'both'; respond 'json' | 'sse'; ids (event ids,
 * resumable); standing (offer the GET stream); sessions (give session ids);
 * version (the newest spoken); retry (hint in ms, primes every stream);
 * beat (comment interval of streams, ms); postStatus (of a POST to an
 * SSE-only server); endpoint(session) (the endpoint event); tls; socketPath; host to listen on; path (of Streamable HTTP).
 */
export class Server {
	constructor(options = {}) {
		this.options = { mode: 'http', respond: 'json', ids: false, standing: true, sessions: true, version: '2025-11-25', postStatus: 405, path: '/mcp', ...options };
		this.connections = new Set();
		this.sockets = new Set();
		this.accepted = 0;
		this.exchanges = [];
		this.sessions = new Map();
		this.rules = [];
		this.counts = new Map();
		this.tools = structuredClone(TOOLS);
		this.resources = [{ uri: 'mem://one', name: 'one' }, { uri: 'mem://two', name: 'two' }];
		this.prompts = [{ name: 'greet' }];
		this.capabilities = { tools: { listChanged: true }, resources: { subscribe: true, listChanged: true }, prompts: { listChanged: true }, logging: {}, completions: {} };
		this.asked = new Map();
		this.answers = [];
		this.nextAsk = 1;
		this.beats = new Set();
	}
	static async start(options) { const s = new Server(options); await s.listen(); return s; }

	async listen(port = 0) {
		const { tls: secure, socketPath } = this.options;
		const take = (socket) => {
			this.accepted++;
			this.sockets.add(socket);
			socket.on('close', () => this.sockets.delete(socket));
			socket.setNoDelay?.(true);
			if (this.onConnection?.(socket) === true) { socket.on('error', () => {}); return; }
			this.connections.add(new Connection(this, socket));
		};
		this.listener = secure ? tls.createServer(secure, take) : net.createServer(take);
		this.listener.on('tlsClientError', () => {});
		await new Promise((ok, fail) => {
			this.listener.once('error', fail);
			if (socketPath) this.listener.listen(socketPath, ok); else this.listener.listen(port, this.options.host ?? '127.0.0.1', ok);
		});
		if (!socketPath) this.port = this.listener.address().port;
	}
	get origin() { return `${this.options.tls ? 'https' : 'http'}://${this.options.host ?? '127.0.0.1'}:${this.port}`; }
	get url() { return `${this.origin}${this.options.mode === 'sse' ? '/sse' : this.options.path}`; }

	/** Goes away: nothing listens, every connection is reset (or closed politely). */
	async stop({ polite = false, forget = false } = {}) {
		for (const b of this.beats) clearInterval(b);
		this.beats.clear();
		if (forget) this.forget();
		if (!this.listener) return;
		const closed = new Promise((ok) => this.listener.close(ok));
		this.listener = null;
		this.cut(polite ? 'fin' : 'reset');
		for (const s of this.sockets) s.destroy();
		await closed;
	}
	/** The same address again. */
	async restart(options) { await this.stop(options); await this.listen(this.port); }
	/** Loses every session, as a restarted process does. */
	forget() { this.sessions.clear(); }
	/** Cuts every connection that stands. */
	cut(how = 'reset') {
		for (const c of this.connections) if (how === 'reset') reset(c.socket); else c.socket.destroy();
	}

	/**
	 * `kind` is a JSON-RPC method, 'tools/call:NAME', 'answer', 'batch', GET, DELETE
	 * or a predicate. The newest rule that matches acts; false from it means
	 * "not me". Its `hits` are the requests it took.
	 */
	when(kind, action, times = Infinity) {
		const match = typeof kind === 'function' ? kind : (e) => e.kind === kind || `${e.kind}:${e.tool}` === kind;
		const rule = { match, action, left: times, hits: [] };
		this.rules.unshift(rule);
		return rule;
	}
	/** For the first `times` only. */
	first(kind, action, times = 1) { return this.when(kind, action, times); }
	clear() { this.rules = []; }

	seen(kind) { return this.exchanges.filter((e) => e.kind === kind || `${e.kind}:${e.tool}` === kind); }
	sees(kind, n = 1, ms) { return until(() => this.seen(kind).length >= n && this.seen(kind), ms, `${n} x ${kind} at the server`); }
	ran(name) { return this.counts.get(name) ?? 0; }
	count(name) { const n = this.ran(name) + 1; this.counts.set(name, n); return n; }
	/** The session that was made last. */
	get session() { return [...this.sessions.values()].at(-1); }
	/** The standing stream of the newest session, once it is open. */
	standing(ms) { return until(() => this.session?.channels.get('standing')?.out?.open && this.session.channels.get('standing').out, ms, 'a standing stream'); }

	accept(ex) {
		this.exchanges.push(ex);
		for (const rule of this.rules) {
			if (rule.left <= 0 || !rule.match(ex)) continue;
			rule.left--;
			rule.hits.push(ex);
			const verdict = rule.action(ex);
			if (verdict !== false) return;
			rule.left++;
			rule.hits.pop();
		}
		this.serve(ex);
	}

	/** What a correct server does with the request. */
	serve(ex) {
		const { mode } = this.options;
		if (mode !== 'sse' && ex.path === this.options.path) return this.#streamable(ex);
		if (mode !== 'http' && ex.path === '/sse') return ex.method === 'GET' ? this.#legacyOpen(ex) : ex.reply(this.options.postStatus, { 'Content-Type': 'text/html' }, '<html>no</html>');
		if (mode !== 'http' && ex.path === '/message' && ex.method === 'POST') return this.#legacyPost(ex);
		return ex.reply(404, { 'Content-Type': 'text/html' }, '<html>nothing here</html>');
	}

	#streamable(ex) {
		const m = ex.message;
		if (ex.method === 'POST' && m?.method === 'initialize') {
			const session = this.#newSession(m);
			const headers = this.options.sessions ? { 'Mcp-Session-Id': session.id } : {};
			return this.#answer(ex, session, headers);
		}
		const session = this.options.sessions ? this.sessions.get(ex.headers['mcp-session-id']) : this.session;
		if (!session) {
			if (ex.headers['mcp-session-id']) return ex.json({ jsonrpc: '2.0', id: null, error: { code: -32001, message: 'Session not found' } }, { status: 404 });
			return ex.json({ jsonrpc: '2.0', id: null, error: { code: -32000, message: 'Bad Request: Mcp-Session-Id header is required' } }, { status: 400 });
		}
		if (ex.method === 'DELETE') { this.sessions.delete(session.id); return ex.reply(200); }
		if (ex.method === 'GET') return this.#get(ex, session);
		if (ex.method !== 'POST') return ex.reply(405);
		if (m === undefined) return ex.json({ jsonrpc: '2.0', id: null, error: { code: -32700, message: 'Parse error' } }, { status: 400 });
		if (Array.isArray(m)) return this.#batch(ex, session);
		if (ex.kind === 'answer') { this.#answered(m, ex); return ex.reply(202); }
		if (m.id === undefined) return ex.reply(202);
		return this.#answer(ex, session);
	}

	#get(ex, session) {
		if (!this.options.standing) return ex.reply(405, { Allow: 'POST, DELETE' });
		const last = ex.headers['last-event-id'];
		const [, name, n] = /^(.*)-(\d+)$/.exec(last ?? '') ?? [];
		const out = this.open(ex);
		const channel = name && session.channels.get(name);
		if (channel) return channel.attach(out, Number(n));
		const standing = new Channel(session, 'standing', this.options.ids);
		session.channels.set('standing', standing);
		standing.attach(out);
		if (this.options.ids) standing.prime(this.options.retry);
		else if (this.options.retry !== undefined) out.event({ retry: this.options.retry });
	}

	/** A stream with the heartbeat this server gives its streams. */
	open(ex, options) {
		const out = ex.stream(options);
		if (this.options.beat) {
			const timer = setInterval(() => { if (out.open && !out.quiet) out.comment('beat'); else if (!out.open) { clearInterval(timer); this.beats.delete(timer); } }, this.options.beat);
			this.beats.add(timer);
		}
		return out;
	}

	async #batch(ex, session) {
		const answers = [];
		for (const m of ex.message) if (m.id !== undefined && m.method) answers.push({ jsonrpc: '2.0', id: m.id, ...await this.#perform(m, session, { send() {} }) });
		if (answers.length) ex.json(answers); else ex.reply(202);
	}

	async #answer(ex, session, headers = {}) {
		if (this.options.respond === 'json' || ex.message.method === 'initialize') {
			// What the tool says on the way has no place in a JSON answer: it goes to the standing stream.
			const outcome = await this.#perform(ex.message, session, { send: (x) => this.send(x, session) });
			return ex.json(ex.envelope(outcome), { headers });
		}
		const channel = new Channel(session, `call${session.channels.size}`, this.options.ids);
		session.channels.set(channel.name, channel);
		channel.attach(this.open(ex, { headers }));
		ex.channel = channel;
		if (this.options.ids) channel.prime(this.options.retry);
		const outcome = await this.#perform(ex.message, session, { send: (x) => channel.send(x), channel });
		channel.send(ex.envelope(outcome));
		channel.finish();
	}

	#newSession(m) {
		const asked = m.params?.protocolVersion;
		const version = VERSIONS.includes(asked) && asked <= this.options.version ? asked : this.options.version;
		const session = new Session(randomUUID(), version);
		this.sessions.set(session.id, session);
		return session;
	}

	#legacyOpen(ex) {
		const session = new Session(randomUUID(), '2024-11-05');
		session.legacy = true;
		this.sessions.set(session.id, session);
		const channel = new Channel(session, 'standing', false);
		session.channels.set('standing', channel);
		const out = this.open(ex);
		channel.attach(out);
		ex.connection.socket.on('close', () => { if (!session.keep) this.sessions.delete(session.id); });
		out.event({ event: 'endpoint', data: this.options.endpoint?.(session, this) ?? `/message?sessionId=${session.id}` });
	}

	async #legacyPost(ex) {
		const session = this.sessions.get(ex.query.get('sessionId'));
		if (!session) return ex.reply(404, { 'Content-Type': 'text/plain' }, 'Could not find session');
		const m = ex.message;
		if (ex.kind === 'answer') this.#answered(m, ex);
		ex.reply(202, {}, 'Accepted');
		if (!m?.method || m.id === undefined) return;
		const outcome = await this.#perform(m, session, { send: (x) => this.send(x, session) });
		this.send(ex.envelope(outcome), session);
	}

	/** Sends a message to the client outside any request. */
	send(message, session = this.session) { session?.channels.get('standing')?.send(message); }
	notify(method, params, session) { this.send({ jsonrpc: '2.0', method, ...(params && { params }) }, session); }
	/** Asks the client; resolves with its answer. */
	ask(method, params, send = (m) => this.send(m)) {
		const id = `ask-${this.nextAsk++}`;
		const answer = new Promise((ok) => this.asked.set(id, ok));
		send({ jsonrpc: '2.0', id, method, ...(params && { params }) });
		return answer;
	}
	#answered(m, ex) { this.answers.push({ message: m, exchange: ex }); this.asked.get(m.id)?.(m); }

	async #perform(m, session, channel) {
		const custom = await this.onRequest?.(m, session, channel);
		if (custom !== undefined) return custom;
		const result = await this.#result(m, session, channel);
		return result === undefined ? { error: { code: -32601, message: 'Method not found' } } : result.error ? result : { result };
	}

	async #result(m, session, channel) {
		const p = m.params ?? {};
		switch (m.method) {
		case 'initialize': return { protocolVersion: session.version, capabilities: this.capabilities, serverInfo: { name: 'scripted', version: '1' } };
		case 'ping': return {};
		case 'tools/list': return this.#page(this.tools, 'tools', p);
		case 'tools/call': return this.#call(p, channel);
		case 'resources/list': return this.#page(this.resources, 'resources', p);
		case 'resources/templates/list': return { resourceTemplates: [] };
		case 'resources/read': return { contents: [{ uri: p.uri, text: `text of ${p.uri}` }] };
		case 'resources/subscribe': session.subscriptions.add(p.uri); return {};
		case 'resources/unsubscribe': session.subscriptions.delete(p.uri); return {};
		case 'prompts/list': return this.#page(this.prompts, 'prompts', p);
		case 'prompts/get': return { messages: [{ role: 'user', content: { type: 'text', text: `prompt ${p.name}` } }] };
		case 'completion/complete': return { completion: { values: ['one', 'two'] } };
		case 'logging/setLevel': session.level = p.level; return {};
		case 'tasks/get': case 'tasks/result': case 'tasks/list': return { task: 'done' };
		default: return undefined;
		}
	}
	/** Pages of `pageSize` where that is set. */
	#page(list, member, { cursor }) {
		const size = this.pageSize ?? list.length, from = Number(cursor ?? 0);
		const next = from + size < list.length ? { nextCursor: String(from + size) } : {};
		return { [member]: list.slice(from, from + size), ...next };
	}
	async #call(p, channel) {
		const a = p.arguments ?? {};
		const n = this.count(p.name);
		switch (p.name) {
		case 'echo': return text(a.text ?? '');
		case 'append': return text(n);
		case 'put': return text(a.value ?? 'set');
		case 'slow': await new Promise((ok) => setTimeout(ok, a.ms ?? 100)); return text('at last');
		case 'steps':
			for (let i = 1; i <= (a.count ?? 3); i++) {
				channel.send({ jsonrpc: '2.0', method: 'notifications/progress', params: { progressToken: p._meta?.progressToken, progress: i } });
				await new Promise((ok) => setTimeout(ok, a.gap ?? 20));
			}
			return text('all steps');
		case 'ask': {
			const answer = await this.ask(a.method ?? 'sampling/createMessage', a.params ?? { messages: [], maxTokens: 1 }, (m) => channel.send(m));
			return text(JSON.stringify(answer.result ?? answer.error));
		}
		default: return this.tools.some((t) => t.name === p.name) ? text(n) : { error: { code: -32602, message: `Unknown tool ${p.name}` } };
		}
	}

	/** The log as text, for a failing test. */
	wire(n = 25) {
		const t0 = this.exchanges[0]?.at ?? 0;
		return this.exchanges.slice(-n).map((e) => `${String(e.at - t0).padStart(6)} ms ${e.method} ${e.path} ${e.kind}${e.tool ? ` ${e.tool}` : ''} id=${e.id} session=${(e.headers['mcp-session-id'] ?? '-').slice(0, 8)} -> ${e.status ?? (e.open ? 'open' : 'cut')}`).join('\n');
	}
}
