// A server that is away when the client starts, and the memory that helps.
import fs from 'node:fs';
import path from 'node:path';
import { assert, assertOwnError, assertResult, assertText, describe, never, QUICK, scenario, until } from '../lib/scenario.mjs';

const HELLO = { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 'driver', version: '1' } };
const LISTS = ['tools/list', 'prompts/list', 'resources/list'];
const files = (dir) => (fs.existsSync(dir) ? fs.readdirSync(dir, { withFileTypes: true }).flatMap((e) => (e.isDirectory() ? files(path.join(dir, e.name)) : [path.join(dir, e.name)])) : []);
/** A first life that fills the memory; gives what a second life needs. */
async function remember({ srv, br, scratch }, lists = LISTS) {
	const told = [];
	for (const m of lists) told.push(assertResult(await br.request(m)));
	br.eof();
	await br.exited();
	return { told, env: { XDG_CACHE_HOME: path.join(scratch, 'cache') }, cache: path.join(scratch, 'cache'), url: srv.url };
}
const WAIT = ['--initialize-wait', '300ms'];

describe('offline start', { concurrency: 4 }, () => {
	scenario('answers initialize and the lists from memory, marked stale, and makes the real handshake later', {}, async (x) => {
		const { told, env, cache, url } = await remember(x);
		const { srv } = x;
		for (const f of files(cache)) assert.equal(fs.statSync(f).mode & 0o777, 0o600, f);
		assert.ok(files(cache).length > 0, 'something is remembered');
		await srv.stop({ forget: true });
		const br = x.bridge([url, ...QUICK, ...WAIT], { env });
		const init = await br.request('initialize', HELLO);
		assert.equal(assertResult(init).serverInfo.name, 'scripted');
		assert.ok(init.ms >= 250 && init.ms < 2500, `after ${init.ms} ms`);
		br.notify('notifications/initialized');
		for (const [i, m] of LISTS.entries()) {
			const { _meta, ...list } = assertResult(await br.request(m));
			assert.deepEqual(list, told[i]);
			assert.match(JSON.stringify(_meta), /stale/i);
			assert.match(JSON.stringify(_meta), /\d/);
		}
		srv.tools.push({ name: 'newcomer', inputSchema: { type: 'object' } });
		const before = srv.seen('initialize').length;
		await srv.listen(srv.port);
		await br.notified('notifications/tools/list_changed');
		assert.equal(srv.seen('initialize').length, before + 1);
		await never(() => br.notifications.some((m) => m.method === 'notifications/prompts/list_changed'), 200, 'a list_changed of prompts');
		assertText(await br.call('echo', { text: 'real' }), 'real');
		assert.equal(br.lines.filter((l) => l.message.result?.serverInfo).length, 1);
	});

	scenario('takes a log level and subscriptions at once, and tells them to the server later', {}, async (x) => {
		const { env, url } = await remember(x);
		const { srv } = x;
		await srv.stop({ forget: true });
		const br = x.bridge([url, ...QUICK, ...WAIT], { env });
		assertResult(await br.request('initialize', HELLO));
		br.notify('notifications/initialized');
		assert.deepEqual(assertResult(await br.request('logging/setLevel', { level: 'error' })), {});
		assert.deepEqual(assertResult(await br.request('resources/subscribe', { uri: 'mem://1' })), {});
		assertResult(await br.request('tools/list'));
		await srv.listen(srv.port);
		assertText(await br.call('echo', { text: 'real' }), 'real');
		assert.deepEqual(srv.seen('logging/setLevel').map((e) => e.message.params), [{ level: 'error' }]);
		assert.deepEqual(srv.seen('resources/subscribe').map((e) => e.message.params), [{ uri: 'mem://1' }]);
	});

	scenario('counts what it answers from memory', {}, async (x) => {
		const { env, url } = await remember(x);
		const file = path.join(x.scratch, 'm.prom');
		await x.srv.stop({ forget: true });
		const br = x.bridge([url, ...QUICK, ...WAIT, '--metrics-file', file], { env });
		assertResult(await br.request('initialize', HELLO));
		br.notify('notifications/initialized');
		for (const m of LISTS) assertResult(await br.request(m));
		br.eof();
		await br.exited();
		for (const m of ['initialize', ...LISTS]) assert.ok(fs.readFileSync(file, 'utf8').includes(`method="${m}",tool="",outcome="ok"} 1\n`), m);
	});

	scenario('holds calls meanwhile', {}, async (x) => {
		const { env, url } = await remember(x);
		await x.srv.stop({ forget: true });
		const br = x.bridge([url, ...QUICK, ...WAIT], { env });
		await br.request('initialize', HELLO);
		br.notify('notifications/initialized');
		const call = br.call('append');
		await never(() => call.answers, 150, 'an answer');
		await x.srv.listen(x.srv.port);
		assertResult(await call);
		assert.equal(x.srv.ran('append'), 1);
	});

	scenario('never remembers results of tools or contents of resources', {}, async (x) => {
		await x.br.call('echo', { text: 'tool-result-that-must-not-stay' });
		await x.br.request('resources/read', { uri: 'mem://contents-that-must-not-stay' });
		const { cache } = await remember(x);
		for (const f of files(cache)) assert.doesNotMatch(fs.readFileSync(f, 'latin1'), /must-not-stay/);
	});

	scenario('knows nothing with other credentials', { args: ['-H', 'Authorization: Bearer first-credential-000'] }, async (x) => {
		const { env, url, cache } = await remember(x);
		for (const f of files(cache)) assert.doesNotMatch(`${f} ${fs.readFileSync(f, 'latin1')}`, /first-credential|127\.0\.0\.1/);
		await x.srv.stop({ forget: true });
		const br = x.bridge([url, ...QUICK, ...WAIT, '--max-retries', '2', '-H', 'Authorization: Bearer second-credential-111'], { env });
		assertOwnError(await br.request('initialize', HELLO));
	});

	scenario('without a memory waits and then says what to check', { connect: false, before: ({ srv }) => srv.stop(), args: [...WAIT, '--max-retries', '3'] }, async ({ br }) => {
		const { message } = assertOwnError(await br.request('initialize', HELLO));
		assert.match(message, /check|url|network|reach/i);
	});

	for (const [what, before, reason] of [
		['answers 404', ({ srv }) => srv.when(() => true, (e) => e.reply(404)), /\(last: HTTP 404; is the URL right\?\)/],
		['is away', ({ srv }) => srv.stop(), /\(last: connection refused\)/],
	])
		scenario(`without a memory says after the hold time that the server ${what}`, { connect: false, before, args: ['--hold-time', '700ms'] }, async ({ br }) => {
			assert.match(assertOwnError(await br.request('initialize', HELLO)).message, reason);
		});

	for (const status of [401, 403])
		scenario(`is not used after a ${status}: it fails closed`, {}, async (x) => {
			const { env, url } = await remember(x);
			x.srv.forget();
			x.srv.when(() => true, (e) => e.reply(status));
			const br = x.bridge([url, ...QUICK, ...WAIT], { env });
			assert.ok((await br.request('initialize', HELLO)).error);
			br.eof();
			await br.exited();
			await x.srv.stop();
			const again = x.bridge([url, ...QUICK, ...WAIT, '--max-retries', '2'], { env });
			assert.ok((await again.request('initialize', HELLO)).error);
		});

	scenario('is turned off by --no-offline-start', {}, async (x) => {
		const { env, url } = await remember(x);
		await x.srv.stop();
		const br = x.bridge([url, ...QUICK, ...WAIT, '--no-offline-start', '--max-retries', '2'], { env });
		assertOwnError(await br.request('initialize', HELLO));
	});

	for (const [what, spoil] of Object.entries({
		'was truncated': (f) => fs.truncateSync(f, Math.floor(fs.statSync(f).size / 2)),
		'is empty': (f) => fs.writeFileSync(f, ''),
		'is not ours': (f) => fs.writeFileSync(f, '{"hello":"world"}\n'),
		'is garbage': (f) => fs.writeFileSync(f, Buffer.alloc(5000, 0xa5)),
		'is a directory': (f) => { fs.rmSync(f); fs.mkdirSync(f); },
		'can be read by others': (f) => fs.chmodSync(f, 0o666),
	}))
		scenario(`a cache file that ${what} is never fatal and is replaced`, {}, async (x) => {
			const { env, url, cache } = await remember(x);
			for (const f of files(cache)) spoil(f);
			const br = x.bridge([url, ...QUICK, ...WAIT], { env });
			await br.connect();
			for (const m of LISTS) assertResult(await br.request(m));
			assertText(await br.call('echo', { text: 'x' }), 'x');
			br.eof();
			await br.exited();
			await x.srv.stop();
			const third = x.bridge([url, ...QUICK, ...WAIT, '--max-retries', '3'], { env });
			const init = await third.request('initialize', HELLO);
			if (what !== 'is a directory') assertResult(init);
		});

	scenario('processes that start together with none there yet keep what each of them has seen', { connect: false }, async ({ srv, bridge, scratch }) => {
		const cache = path.join(scratch, 'together');
		const all = Array.from({ length: 16 }, (_, i) => bridge([`${srv.url}?n=${i}`, ...QUICK], { env: { XDG_CACHE_HOME: cache } }));
		await Promise.all(all.map((b) => b.connect()));
		for (const b of all) b.eof();
		await Promise.all(all.map((b) => b.exited()));
		assert.equal(files(cache).filter((f) => f.endsWith('.hello')).length, all.length);
	});

	scenario('a cache directory that can not be written is no reason to fail', { env: { XDG_CACHE_HOME: '/proc/nowhere' } }, async ({ br }) => {
		assertResult(await br.request('tools/list'));
		await until(() => br.alive, 10, 'life');
	});
});
