// Clients and servers of both generations of the official packages, in every
// combination, through a relay that cuts connections.
import http from 'node:http';
import { it, describe } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { Client as OldClient } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport as OldStdio } from '@modelcontextprotocol/sdk/client/stdio.js';
import { Client as NewClient } from '@modelcontextprotocol/client';
import { StdioClientTransport as NewStdio } from '@modelcontextprotocol/client/stdio';
import { McpServer, createMcpHandler } from '@modelcontextprotocol/server';
import { z } from 'zod';
import { Relay } from '../lib/relay.mjs';
import { BINARY, within } from '../lib/wait.mjs';
import { cleanEnvironment, scratchDirectory } from '../lib/bridge.mjs';
import { Everything } from './everything.mjs';

const CALLS = Math.max(10, Math.min(40, Number(process.env.HOLDFAST_OPS ?? 40)));

/** A server of the second generation on node:http; `legacy` as createMcpHandler takes it. */
async function newServer(legacy) {
	const handler = createMcpHandler(() => {
		const s = new McpServer({ name: 'second-generation', version: '1' });
		s.registerTool('echo', { description: 'says it again', inputSchema: z.object({ message: z.string() }), annotations: { readOnlyHint: true } }, ({ message }) => ({ content: [{ type: 'text', text: `Echo: ${message}` }] }));
		return s;
	}, { legacy });
	const listener = http.createServer(async (req, res) => {
		const body = [];
		for await (const d of req) body.push(d);
		const gone = new AbortController();
		res.on('close', () => gone.abort());
		const response = await handler.fetch(new Request(`http://127.0.0.1${req.url}`, { method: req.method, headers: req.headers, signal: gone.signal, ...(body.length && { body: Buffer.concat(body) }) }));
		res.writeHead(response.status, Object.fromEntries(response.headers));
		if (response.body) for await (const d of response.body) res.write(d);
		res.end();
	});
	listener.on('error', () => {});
	await new Promise((ok) => listener.listen(0, '127.0.0.1', ok));
	return { port: listener.address().port, stop: async () => { listener.closeAllConnections(); await new Promise((ok) => listener.close(ok)); } };
}

const SERVERS = {
	'the first-generation server': async (scratch) => { const s = new Everything('streamableHttp', scratch); await s.start(); return s; },
	'the second-generation server': () => newServer('stateless'),
	'the second-generation server that speaks nothing older': () => newServer('reject'),
};
const CLIENTS = {
	'the first-generation client': (spawn) => [new OldClient({ name: 'old', version: '1' }), new OldStdio(spawn)],
	'the second-generation client': (spawn) => [new NewClient({ name: 'new', version: '1' }, { versionNegotiation: { mode: 'auto' } }), new NewStdio(spawn)],
	'the second-generation client in its legacy mode': (spawn) => [new NewClient({ name: 'new', version: '1' }, { versionNegotiation: { mode: 'legacy' } }), new NewStdio(spawn)],
};

describe('both generations', { concurrency: 3 }, () => {
	for (const [clientName, makeClient] of Object.entries(CLIENTS))
		for (const [serverName, makeServer] of Object.entries(SERVERS))
			it(`${clientName} works with ${serverName} while connections are cut`, { timeout: 120000 }, async () => {
				const scratch = scratchDirectory();
				const server = await makeServer(scratch);
				const relay = await Relay.start({ target: server.port, every: [150, 400], kinds: ['fin', 'reset'] });
				const spawn = { command: BINARY, args: [`http://127.0.0.1:${relay.port}/mcp`, '--initial-retry-delay', '100', '--log-level', 'debug'], env: cleanEnvironment(scratch), stderr: 'pipe' };
				const [client, transport] = makeClient(spawn);
				let stderr = '';
				transport.stderr.on('data', (d) => { stderr += d; });
				try {
					await within(client.connect(transport), 15000, 'the connection');
					assert.ok((await client.listTools()).tools.some((t) => t.name === 'echo'));
					for (let i = 0; i < CALLS; i++) {
						const { content } = await within(client.callTool({ name: 'echo', arguments: { message: `m${i}` } }), 20000, `call ${i}`);
						assert.equal(content[0].text, `Echo: m${i}`);
						await new Promise((ok) => setTimeout(ok, 25));
					}
					assert.ok(relay.cuts.length > 0);
					assert.doesNotMatch(stderr, /Sanitizer|runtime error/);
				} catch (e) {
					e.message += `\n--- stderr\n${stderr.split('\n').slice(-25).join('\n')}`;
					throw e;
				} finally {
					await client.close().catch(() => {});
					await relay.stop();
					await server.stop();
					fs.rmSync(scratch, { recursive: true, force: true });
				}
			});
});
