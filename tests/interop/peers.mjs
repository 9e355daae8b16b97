// Servers of each era made with the official packages, all with the same tools,
// and clients of both generations with the same face, so that one list of checks
// fits every pair of them.
import http from 'node:http';
import { randomUUID } from 'node:crypto';
import { McpServer as OldServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { SSEServerTransport } from '@modelcontextprotocol/sdk/server/sse.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import * as old from '@modelcontextprotocol/sdk/types.js';
import { Client as OldClient } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport as OldStdio } from '@modelcontextprotocol/sdk/client/stdio.js';
import { Client as NewClient } from '@modelcontextprotocol/client';
import { StdioClientTransport as NewStdio } from '@modelcontextprotocol/client/stdio';
import { McpServer, createMcpHandler, inputRequired, inputResponse } from '@modelcontextprotocol/server';
import { z } from 'zod';

export const URI = 'mem://one';
const LEVEL = 'io.modelcontextprotocol/logLevel';
const text = (value) => ({ content: [{ type: 'text', text: String(value) }] });
const NAME = { type: 'object', properties: { name: { type: 'string' } }, required: ['name'] };
const SAMPLE = { messages: [{ role: 'user', content: { type: 'text', text: 'who?' } }], maxTokens: 5 };

/** What the test sees of a server: what its tools did, and what it is told to say. */
class State {
	constructor() { Object.assign(this, { ran: [], aborted: 0, slow: 0, grown: [], text: 'first' }); }
}

const wait = (ms, signal) => new Promise((ok) => {
	const timer = setTimeout(() => ok(false), ms);
	signal.addEventListener('abort', () => { clearTimeout(timer); ok(true); });
});

/**
 * The tools, in terms of what a handler may do: ask (a question to the client),
 * tell (a notification of this call), log, signal.
 */
const TOOLS = {
	echo: [true, async ({ value }) => text(`echo ${value}`)],
	append: [false, async ({ value }, { state }) => { state.ran.push(value); return text(`wrote ${value}`); }],
	name: [true, async (_, { ask }) => ask('name', 'elicitation/create', { message: 'your name?', requestedSchema: NAME }, (r) => text(`name ${r.action} ${r.content?.name}`))],
	model: [true, async (_, { ask }) => ask('model', 'sampling/createMessage', SAMPLE, (r) => text(`model says ${r.content.text}`))],
	roots: [true, async (_, { ask }) => ask('roots', 'roots/list', undefined, (r) => text(`roots ${r.roots.map((x) => x.uri)}`))],
	both: [true, async (_, { ask }) => ask('name', 'elicitation/create', { message: 'your name?', requestedSchema: NAME }, (n) =>
		ask('model', 'sampling/createMessage', SAMPLE, (m) => text(`${n.content.name} and ${m.content.text}`)))],
	steps: [true, async (_, { tell, token }) => {
		for (let i = 1; i <= 3; i++) { await tell('notifications/progress', { progressToken: token, progress: i, total: 3 }); await wait(10, new AbortController().signal); }
		return text('all steps');
	}],
	slow: [true, async (_, { state, signal }) => { state.slow++; if (await wait(8000, signal)) state.aborted++; return text('at last'); }],
	say: [true, async (_, { log }) => { await log('info', 'said on the way'); return text('said'); }],
};
const listing = (state) => [...Object.entries(TOOLS), ...state.grown.map((n) => [n, TOOLS.echo])];

/* ---- first generation ---------------------------------------------------------------------- */

function oldServer(state, version) {
	const s = new OldServer({ name: 'first-generation', version: '1' }, { capabilities: { tools: { listChanged: true }, resources: { subscribe: true, listChanged: true }, prompts: {}, logging: {} }, instructions: 'be kind' });
	const low = s.server, subscribed = new Set();
	low.setRequestHandler(old.InitializeRequestSchema, async (r) => ({ ...await low._oninitialize(r), protocolVersion: version }));
	for (const [name, [readOnlyHint, run]] of listing(state))
		s.registerTool(name, { description: name, inputSchema: { value: z.string().optional() }, annotations: readOnlyHint ? { readOnlyHint } : undefined }, (args, extra) => run(args, {
			state, signal: extra.signal, token: extra._meta?.progressToken,
			tell: (method, params) => extra.sendNotification({ method, params }),
			log: (level, data) => low.sendLoggingMessage({ level, data }, extra.sessionId),
			ask: async (_, method, params, then) => then(await extra.sendRequest({ method, params }, { 'elicitation/create': old.ElicitResultSchema, 'sampling/createMessage': old.CreateMessageResultSchema, 'roots/list': old.ListRootsResultSchema }[method])),
		}));
	s.registerResource('one', URI, {}, (uri) => ({ contents: [{ uri: uri.href, text: state.text }] }));
	s.registerPrompt('greet', { argsSchema: { who: z.string() } }, ({ who }) => ({ messages: [{ role: 'user', content: { type: 'text', text: `hello ${who}` } }] }));
	low.setRequestHandler(old.SubscribeRequestSchema, ({ params }) => { subscribed.add(params.uri); return {}; });
	low.setRequestHandler(old.UnsubscribeRequestSchema, ({ params }) => { subscribed.delete(params.uri); return {}; });
	return { s, low, subscribed };
}

async function oldListener(state, version, sse) {
	const sessions = new Map();
	const open = async (transport) => {
		const one = { transport, ...oldServer(state, version) };
		transport.onclose = () => sessions.delete(transport.sessionId);
		await one.s.connect(transport);
		return one;
	};
	const streamable = async (req, res) => {
		const known = sessions.get(req.headers['mcp-session-id']);
		if (known) return known.transport.handleRequest(req, res);
		if (req.headers['mcp-session-id']) return res.writeHead(404, { 'Content-Type': 'application/json' }).end('{"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"Session not found"}}');
		let one;
		const transport = new StreamableHTTPServerTransport({ sessionIdGenerator: randomUUID, onsessioninitialized: (id) => { sessions.set(id, one); } });
		one = await open(transport);
		return transport.handleRequest(req, res);
	};
	const events = async (req, res) => {
		if (req.method === 'GET') { const t = new SSEServerTransport('/message', res); sessions.set(t.sessionId, await open(t)); return; }
		const one = req.url.startsWith('/message') && sessions.get(new URL(req.url, 'http://x').searchParams.get('sessionId'));
		if (one) await one.transport.handlePostMessage(req, res); else res.writeHead(req.url.startsWith('/message') ? 404 : 405).end();
	};
	const listener = http.createServer((req, res) => { (sse ? events : streamable)(req, res).catch(() => res.destroy()); });
	await new Promise((ok) => listener.listen(0, '127.0.0.1', ok));
	return {
		state, port: listener.address().port, path: sse ? '/sse' : '/mcp', version,
		touch: (value) => { state.text = value; for (const { low, subscribed } of sessions.values()) if (subscribed.has(URI)) low.sendResourceUpdated({ uri: URI }).catch(() => {}); },
		grow: (name) => { state.grown.push(name); for (const { s } of sessions.values()) s.registerTool(name, { description: name, inputSchema: { value: z.string().optional() } }, TOOLS.echo[1]); },
		stop: async () => { listener.closeAllConnections(); await new Promise((ok) => listener.close(ok)); },
	};
}

/* ---- second generation ----------------------------------------------------------------------- */

function newServer(state) {
	const s = new McpServer({ name: 'second-generation', version: '1' }, { capabilities: { tools: { listChanged: true }, resources: { subscribe: true, listChanged: true }, prompts: {}, logging: {} }, instructions: 'be kind' });
	for (const [name, [readOnlyHint, run]] of listing(state))
		s.registerTool(name, { description: name, inputSchema: z.object({ value: z.string().optional() }), annotations: readOnlyHint ? { readOnlyHint } : undefined }, (args, { mcpReq }) => run(args, {
			state, signal: mcpReq.signal, token: mcpReq._meta?.progressToken,
			tell: (method, params) => mcpReq.notify({ method, params }),
			log: (level, data) => mcpReq.log(level, data),
			// Answers of earlier rounds travel in the state: each question is asked once.
			ask: async (key, method, params, then) => {
				const before = mcpReq.requestState() ? JSON.parse(mcpReq.requestState()) : {};
				const view = inputResponse(mcpReq.inputResponses, key);
				const given = view.kind === 'missing' ? before[key] : view.result ?? view;
				if (given) { before[key] = given; mcpReq.requestState = () => JSON.stringify(before); return then(given); }
				const make = { 'elicitation/create': 'elicit', 'sampling/createMessage': 'createMessage', 'roots/list': 'listRoots' }[method];
				return inputRequired({ inputRequests: { [key]: inputRequired[make](params) }, requestState: JSON.stringify(before) });
			},
		}));
	s.registerResource('one', URI, {}, (uri) => ({ contents: [{ uri: uri.href, text: state.text }] }));
	s.registerPrompt('greet', { argsSchema: z.object({ who: z.string() }) }, ({ who }) => ({ messages: [{ role: 'user', content: { type: 'text', text: `hello ${who}` } }] }));
	return s;
}

async function newListener(state) {
	const handler = createMcpHandler(() => newServer(state), { legacy: 'reject' });
	const listener = http.createServer(async (req, res) => {
		const body = [], gone = new AbortController();
		res.on('close', () => gone.abort());
		try {
			for await (const d of req) body.push(d);
			const r = await handler.fetch(new Request(`http://127.0.0.1${req.url}`, { method: req.method, headers: req.headers, signal: gone.signal, ...(body.length && { body: Buffer.concat(body) }) }));
			res.writeHead(r.status, Object.fromEntries(r.headers));
			res.flushHeaders();
			if (r.body) for await (const d of r.body) res.write(d);
			res.end();
		} catch { res.destroy(); }
	});
	await new Promise((ok) => listener.listen(0, '127.0.0.1', ok));
	return {
		state, port: listener.address().port, path: '/mcp', version: '2026-07-28',
		touch: (value) => { state.text = value; handler.notify.resourceUpdated(URI); },
		grow: (name) => { state.grown.push(name); handler.notify.toolsChanged(); },
		stop: async () => { await handler.close(); listener.closeAllConnections(); await new Promise((ok) => listener.close(ok)); },
	};
}

export const SERVERS = {
	'2024-11-05': () => oldListener(new State(), '2024-11-05', true),
	'2025-03-26': () => oldListener(new State(), '2025-03-26', false),
	'2025-11-25': () => oldListener(new State(), '2025-11-25', false),
	'2026-07-28': () => newListener(new State()),
};

/* ---- clients -------------------------------------------------------------------------------------- */

const GIVEN = {
	'elicitation/create': () => ({ action: 'accept', content: { name: 'Ada' } }),
	'sampling/createMessage': () => ({ role: 'assistant', model: 'none', content: { type: 'text', text: 'nobody' } }),
	'roots/list': () => ({ roots: [{ uri: 'file:///here', name: 'here' }] }),
};
const capabilities = { elicitation: {}, sampling: {}, roots: { listChanged: true } };

/** The face of a connected client; `seen` holds what it was told. */
function face(client, seen, rest) {
	return {
		client, seen,
		call: (name, args = {}, options) => client.callTool({ name, arguments: args }, ...rest.result, options),
		text: async (name, args, options) => { const r = await client.callTool({ name, arguments: args ?? {} }, ...rest.result, options); if (r.isError) throw new Error(r.content[0].text); return r.content[0].text; },
		close: () => client.close(),
		...rest,
	};
}
const record = () => ({ updated: [], tools: 0, logs: [], asked: [], errors: [] });

export const CLIENTS = {
	legacy: async (spawn) => {
		const seen = record(), client = new OldClient({ name: 'old', version: '1' }, { capabilities });
		client.onerror = (e) => seen.errors.push(e.message);
		for (const [method, schema] of [['elicitation/create', old.ElicitRequestSchema], ['sampling/createMessage', old.CreateMessageRequestSchema], ['roots/list', old.ListRootsRequestSchema]])
			client.setRequestHandler(schema, () => { seen.asked.push(method); return GIVEN[method](); });
		client.setNotificationHandler(old.ResourceUpdatedNotificationSchema, (n) => { seen.updated.push(n.params); });
		client.setNotificationHandler(old.ToolListChangedNotificationSchema, () => { seen.tools++; });
		client.setNotificationHandler(old.LoggingMessageNotificationSchema, (n) => { seen.logs.push(n.params.data); });
		const transport = new OldStdio(spawn);
		return face(client, seen, {
			result: [undefined], transport,
			connect: () => client.connect(transport),
			subscribe: () => client.subscribeResource({ uri: URI }),
			unsubscribe: () => client.unsubscribeResource({ uri: URI }),
			watch: async () => {},
			loudly: async (name) => { await client.setLoggingLevel('debug'); return client.callTool({ name, arguments: {} }); },
		});
	},
	modern: async (spawn) => {
		const seen = record(), client = new NewClient({ name: 'new', version: '1' }, { capabilities, versionNegotiation: { mode: { pin: '2026-07-28' } } });
		client.onerror = (e) => seen.errors.push(e.message);
		for (const method of Object.keys(GIVEN)) client.setRequestHandler(method, () => { seen.asked.push(method); return GIVEN[method](); });
		client.setNotificationHandler('notifications/resources/updated', (n) => { seen.updated.push(n.params); });
		client.setNotificationHandler('notifications/tools/list_changed', () => { seen.tools++; });
		client.setNotificationHandler('notifications/message', (n) => { seen.logs.push(n.params.data); });
		const transport = new NewStdio(spawn);
		let subscription;
		return face(client, seen, {
			result: [], transport,
			connect: () => client.connect(transport),
			subscribe: async () => { subscription = await client.listen({ resourceSubscriptions: [URI] }); },
			unsubscribe: () => subscription.close(),
			watch: async () => { await client.listen({ toolsListChanged: true }); },
			loudly: (name) => client.callTool({ name, arguments: {}, _meta: { [LEVEL]: 'debug' } }),
		});
	},
};
