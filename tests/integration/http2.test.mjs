// --http2, against Node's own HTTP/2 server: many streams on one connection, and
// connections that end in the middle of them.
import fs from 'node:fs';
import http2 from 'node:http2';
import { after } from 'node:test';
import { assert, assertText, describe, QUICK, scenario, scratchDirectory, until } from '../lib/scenario.mjs';
import { makeCertificates } from '../lib/certificates.mjs';

const scratch = scratchDirectory(), made = makeCertificates(scratch);

/** Answers calls as JSON and as an event stream in turn. `when(n)` may take the nth call. */
class Http2Server {
	constructor() {
		Object.assign(this, { connections: new Set(), made: 0, calls: [], versions: new Set(), streams: [], deleted: 0, when: () => false });
		this.server = http2.createSecureServer({ cert: fs.readFileSync(made.server.cert), key: fs.readFileSync(made.server.key), allowHTTP1: true });
		this.server.on('session', (s) => {
			this.made++;
			this.connections.add(s);
			s.on('close', () => this.connections.delete(s)).on('error', () => {});
		});
		this.server.on('request', (req, res) => this.#serve(req, res));
	}
	async listen() {
		await new Promise((done) => this.server.listen(0, '127.0.0.1', done));
		this.url = `https://127.0.0.1:${this.server.address().port}/mcp`;
		return this;
	}
	close() {
		for (const s of this.connections) s.destroy();
		this.server.close();
		this.server.closeAllConnections?.();
	}
	async #serve(req, res) {
		req.on('error', () => {});
		res.on('error', () => {});
		this.versions.add(req.httpVersion);
		if (req.method === 'GET') {
			res.writeHead(200, { 'content-type': 'text/event-stream' });
			res.write(': open\n\n');
			this.streams.push(res);
			return;
		}
		if (req.method === 'DELETE') { this.deleted++; res.writeHead(200).end(); return; }
		let text = '';
		try { for await (const part of req) text += part; } catch { return; }
		const m = JSON.parse(text);
		if (m.id === undefined) { res.writeHead(202).end(); return; }
		if (m.method === 'tools/call' && (this.calls.push(m.params.arguments.text), this.when(this.calls.length, req))) return;
		const result = m.method === 'initialize' ? { protocolVersion: m.params.protocolVersion, capabilities: { tools: {} }, serverInfo: { name: 'h2', version: '1' } }
			: m.method === 'tools/list' ? { tools: [{ name: 'look', inputSchema: { type: 'object' }, annotations: { readOnlyHint: true } }] }
				: { content: [{ type: 'text', text: m.params?.arguments?.text ?? '' }] };
		const answer = JSON.stringify({ jsonrpc: '2.0', id: m.id, result }), stream = this.calls.length % 2 === 1;
		res.writeHead(200, { 'content-type': stream ? 'text/event-stream' : 'application/json', 'mcp-session-id': 's' });
		res.end(stream ? `data: ${answer}\n\n` : answer);
	}
}

const over = (name, args, body) => {
	let srv;
	const listen = async () => { srv = await new Http2Server().listen(); return ['--cacert', made.ca, ...args]; };
	scenario(name, { server: false, args: listen, url: () => srv.url }, async ({ br, t }) => {
		t.after(() => srv.close());
		await br.request('tools/list');
		await body({ srv, br });
	});
};
const rounds = async (br, n, width, size = 0) => {
	for (let i = 0; i < n; i++) {
		const all = [];
		for (let k = 0; k < width; k++) all.push(br.call('look', { text: `${i}.${k}${'x'.repeat(size)}` }));
		for (let k = 0; k < width; k++) assertText(await all[k], `${i}.${k}${'x'.repeat(size)}`);
	}
};

describe('--http2', { concurrency: 2 }, () => {
	after(() => fs.rmSync(scratch, { recursive: true, force: true }));

	over('one connection carries all calls, and transfers are used again', ['--http2'], async ({ srv, br }) => {
		await until(() => srv.streams.length === 1);
		await rounds(br, 40, 1);
		await rounds(br, 10, 20);
		await rounds(br, 3, 4, 300_000);
		assert.deepEqual([...srv.versions], ['2.0']);
		assert.equal(srv.made, 1);
		srv.streams[0].write('data: {"jsonrpc":"2.0","method":"notifications/tools/list_changed"}\n\n');
		await br.notified('notifications/tools/list_changed');
		br.eof();
		await br.exited();
		assert.equal(srv.deleted, 1);
	});

	over('a connection that ends under repeatable calls costs none of them', ['--http2'], async ({ srv, br }) => {
		let cuts = 0;
		srv.when = (n) => {
			if (n % 37) return false;
			cuts++;
			for (const s of srv.connections) s.destroy();
			return true;
		};
		await rounds(br, 30, 8);
		assert.ok(cuts >= 5, `${cuts} cuts`);
		assert.ok(srv.made > 1);
	});

	over('streams that are reset and a server that says GOAWAY cost no call', ['--http2'], async ({ srv, br }) => {
		srv.when = (n, req) => {
			if (n % 11 === 0) { req.stream.close(http2.constants.NGHTTP2_REFUSED_STREAM); return true; }
			if (n % 41 === 0) req.stream.session.close();
			return false;
		};
		await rounds(br, 30, 8);
		assert.ok(srv.made > 1);
	});

	over('without it HTTP/1.1 is spoken to the same server', [], async ({ srv, br }) => {
		await rounds(br, 5, 4);
		assert.deepEqual([...srv.versions], ['1.1']);
	});
});
