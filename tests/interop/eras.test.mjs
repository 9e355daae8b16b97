// Every era to every era: clients of both generations of the official packages
// against a server of each era, first over a good line, then through a relay that
// cuts it. What one side's package can not express is not asked of it.
import { it, describe } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { CLIENTS, SERVERS, URI } from './peers.mjs';
import { Relay } from '../lib/relay.mjs';
import { BINARY, SLOW, never, pause, until, within } from '../lib/wait.mjs';
import { cleanEnvironment, scratchDirectory } from '../lib/bridge.mjs';

const CALLS = Math.max(12, Math.min(40, Number(process.env.HOLDFAST_OPS ?? 40)));

async function pair(clientEra, serverEra, cutting, body) {
	const scratch = scratchDirectory(), server = await SERVERS[serverEra]();
	const relay = cutting && await Relay.start({ target: server.port, every: [200, 600], kinds: ['fin', 'reset'] });
	const url = `http://127.0.0.1:${relay ? relay.port : server.port}${server.path}`;
	const c = await CLIENTS[clientEra]({ command: BINARY, args: [url, '--initial-retry-delay', '50', '--max-retry-delay', '400', '--request-timeout', '15s', '--log-level', 'debug', '--tool-errors', 'protocol'], env: cleanEnvironment(scratch), stderr: 'pipe' });
	let stderr = '';
	c.transport.stderr.on('data', (d) => { stderr += d; });
	try {
		await within(c.connect(), 15000, 'the connection');
		await body(c, server, relay);
		assert.doesNotMatch(stderr, /Sanitizer|runtime error/);
	} catch (e) {
		e.message += `\n--- stderr\n${stderr.split('\n').slice(-30).join('\n')}\n--- the client's complaints\n${c.seen.errors.slice(-5).join('\n')}`;
		throw e;
	} finally {
		await c.close().catch(() => {});
		if (relay) await relay.stop();
		await server.stop();
		fs.rmSync(scratch, { recursive: true, force: true });
	}
}

/** What must work over a good line; each takes the client and the server. */
const CHECKS = {
	'says who it talks to': async (c) => {
		assert.match(c.client.getServerVersion().name, /generation/);
		assert.equal(c.client.getInstructions(), 'be kind');
	},
	'lists and calls tools': async (c) => {
		assert.ok((await c.client.listTools()).tools.some((t) => t.name === 'append'));
		assert.equal(await c.text('echo', { value: 'hé "\\ \u2028' }), 'echo hé "\\ \u2028');
	},
	'runs a call with effects once': async (c, { state }) => {
		assert.equal(await c.text('append', { value: 'one' }), 'wrote one');
		assert.deepEqual(state.ran, ['one']);
	},
	'reads resources and prompts': async (c) => {
		assert.equal((await c.client.readResource({ uri: URI })).contents[0].text, 'first');
		assert.equal((await c.client.getPrompt({ name: 'greet', arguments: { who: 'you' } })).messages[0].content.text, 'hello you');
		assert.ok((await c.client.listResources()).resources.length === 1);
		assert.ok((await c.client.listPrompts()).prompts.length === 1);
	},
	'tells of a resource that is not there': (c) => assert.rejects(c.client.readResource({ uri: 'mem://none' }), /not found|-32602|-32002/),
	'elicits': async (c) => { assert.equal(await c.text('name'), 'name accept Ada'); },
	'samples': async (c) => { assert.equal(await c.text('model'), 'model says nobody'); },
	'lists roots': async (c) => { assert.equal(await c.text('roots'), 'roots file:///here'); },
	'asks twice in one call': async (c) => {
		c.seen.asked.length = 0;
		assert.equal(await c.text('both'), 'Ada and nobody');
		assert.deepEqual(c.seen.asked, ['elicitation/create', 'sampling/createMessage']);
	},
	'asks in two calls, one after another': async (c) => {
		for (let i = 0; i < 3; i++) assert.equal(await c.text('name'), 'name accept Ada');
	},
	// A client drops progress that comes along with the answer: what its transport brings is what counts.
	'tells of progress': async (c) => {
		const seen = [], take = c.transport.onmessage;
		c.transport.onmessage = (m, ...more) => {
			if (m.method === 'notifications/progress') seen.push(m.params.progress);
			if (m.result?.content) seen.push(m.result.content[0].text);
			return take(m, ...more);
		};
		try {
			assert.equal(await c.text('steps', {}, { onprogress: () => {} }), 'all steps');
		} finally {
			c.transport.onmessage = take;
		}
		assert.deepEqual(seen, [1, 2, 3, 'all steps']);
	},
	'stops a call that is cancelled': async (c, { state }) => {
		const stop = new AbortController();
		const call = c.call('slow', {}, { signal: stop.signal });
		await until(() => state.slow === 1, 5000, 'the call at the server');
		stop.abort('enough');
		await assert.rejects(call);
		await until(() => state.aborted === 1, 5000, 'the end of the call at the server');
	},
	'passes on what the server logs': async (c) => {
		await c.loudly('say');
		await until(() => c.seen.logs.includes('said on the way'), 5000, 'the log message');
	},
	'tells of a resource that changed, until it is not wanted any more': async (c, server) => {
		await c.subscribe();
		await until(() => { server.touch('second'); return c.seen.updated.length; }, 5000, 'an update');
		assert.equal(c.seen.updated[0].uri, URI);
		assert.equal((await c.client.readResource({ uri: URI }, { cacheMode: 'refresh' })).contents[0].text, 'second');
		await c.unsubscribe();
		await c.text('echo', { value: 'x' });
		await until(async () => { const n = c.seen.updated.length; server.touch('third'); await pause(150 * SLOW); return c.seen.updated.length === n; }, 5000, 'quiet');
		await never(() => { const n = c.seen.updated.length; server.touch('fourth'); return c.seen.updated.length > n; }, 150);
	},
	'tells of a list that changed': async (c, server) => {
		await c.watch();
		server.grow('grown');
		await until(() => c.seen.tools > 0, 5000, 'list_changed');
		assert.ok((await c.client.listTools(undefined, { cacheMode: 'refresh' })).tools.some((t) => t.name === 'grown'));
		assert.equal(await c.text('grown', { value: 'new' }), 'echo new');
	},
	'heard nothing wrong': async (c) => {
		assert.deepEqual(c.seen.errors.filter((e) => !/unknown token|cancel|abort/i.test(e)), []);
	},
};

describe('every era to every era over a good line', { concurrency: 2 }, () => {
	for (const clientEra of Object.keys(CLIENTS))
		for (const serverEra of Object.keys(SERVERS))
			it(`a ${clientEra} client and a server of ${serverEra}`, { timeout: 90000 }, (t) => pair(clientEra, serverEra, false, async (c, server) => {
				for (const [name, check] of Object.entries(CHECKS)) await t.test(name, () => within(check(c, server), 20000, name));
			}));
});

describe('every era to every era while connections are cut', { concurrency: 2 }, () => {
	for (const clientEra of Object.keys(CLIENTS))
		for (const serverEra of Object.keys(SERVERS))
			it(`a ${clientEra} client and a server of ${serverEra}`, { timeout: 120000 }, () => pair(clientEra, serverEra, true, async (c, server, relay) => {
				const { state } = server, unknown = [];
				assert.ok((await c.client.listTools()).tools.some((t) => t.name === 'append'));
				await c.subscribe();
				await c.watch();
				for (let i = 0; i < CALLS; i++) {
					assert.equal(await within(c.text('echo', { value: `${i}` }), 20000, `call ${i}`), `echo ${i}`);
					// Without effects a question may be asked again; the answer is the same.
					if (i % 6 === 1) assert.equal(await within(c.text('name'), 20000, 'elicitation'), 'name accept Ada');
					if (i % 6 === 3) assert.equal((await within(c.client.readResource({ uri: URI }), 20000, 'a read')).contents[0].uri, URI);
					if (i % 6 === 5) await within(c.text('append', { value: `line ${i}` }), 20000, 'append').catch((e) => { assert.equal(e.data?.kind, 'outcome_unknown', e.message); unknown.push(i); });
					await pause(40);
				}
				assert.ok(relay.cuts.length > 0);
				assert.equal(new Set(state.ran).size, state.ran.length, `run twice: ${state.ran}`);
				// Subscriptions outlive the cuts.
				const before = c.seen.updated.length;
				await until(() => { server.touch('later'); return c.seen.updated.length > before; }, 8000, 'an update after the cuts');
				server.grow('grown');
				await until(() => c.seen.tools > 0, 8000, 'list_changed after the cuts');
				relay.calm();
				assert.ok((await within(c.client.listTools(undefined, { cacheMode: 'refresh' }), 20000, 'the list')).tools.some((t) => t.name === 'grown'));
			}));
});
