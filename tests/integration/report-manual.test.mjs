// The screens in the manual are what the program shows: numbers, times and names
// of machines apart, they must be the same.
import fs from 'node:fs';
import path from 'node:path';
import { it, assert, run, until, goAway, Server, Bridge, QUICK, ROOT, scratchDirectory } from '../lib/scenario.mjs';

const manual = fs.readFileSync(path.join(ROOT, 'man/mcp-holdfast.1'), 'utf8');

/** What the manual shows of this command. */
function screen(command) {
	const blocks = [...manual.matchAll(/^\.Bd -literal.*\n([\s\S]*?)^\.Ed$/gm)].map((m) => m[1]);
	const found = blocks.find((b) => b.startsWith(`$ mcp-holdfast ${command}`));
	assert.ok(found, `no screen of '${command}' in the manual`);
	return found.slice(found.indexOf('\n') + 1).replaceAll('\\e', '\\');
}
/** Without numbers, durations and sizes, and with one blank for many. */
const plain = (text) => text.replace(/https?:\/\/[a-z0-9.:]+/g, 'URL').replace(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, 'TIME')
	.replace(/\b\d{4}-\d\d-\d\d\b/g, (date) => date)
	.replace(/\d+m\d\ds|\d+h\d\dm|\d+d\d\dh/g, '#').replace(/(?<![\d-])\d+(\.\d+)?(ms|s|%|K|M|G)?(?![\d-])/g, '#').replace(/ +/g, ' ').trimEnd().split('\n');

it('status and log look as in the manual', { timeout: 60000 }, async () => {
	const scratch = scratchDirectory(), env = { XDG_RUNTIME_DIR: scratch };
	const [one, two] = [await Server.start({}), await Server.start({})];
	const docs = new Bridge([one.url, ...QUICK, '--name', 'docs'], { env });
	const jira = new Bridge([two.url, ...QUICK, '--name', 'jira', '--jitter', 'none', '--initial-retry-delay', '3s', '--max-retry-delay', '3s'], { env });
	try {
		for (const b of [docs, jira]) { await b.connect(); await b.call('slow', { ms: 20 }); }
		await one.standing();
		const running = docs.call('slow', { ms: 6000 });
		const waiting = await goAway(two, jira);
		const table = await until(async () => { const r = await run(['status'], { env }); return /next try in [12]\.\ds/.test(r.stdout) && /1\/0/.test(r.stdout) && r; }, 6000, 'both on the table');
		assert.deepEqual(plain(table.stdout), plain(screen('status')));
		await two.restart();
		await waiting;
		await running;
		const log = await run(['log', 'jira'], { env });
		assert.deepEqual(plain(log.stdout), plain(screen('log jira')));
		for (const b of [docs, jira]) await b.finish();
	} finally {
		for (const b of [docs, jira]) await b.destroy();
		for (const s of [one, two]) await s.stop();
		fs.rmSync(scratch, { recursive: true, force: true });
	}
});

it('doctor looks as in the manual', { timeout: 60000 }, async () => {
	const srv = await Server.start({ respond: 'sse', ids: true });
	try {
		const r = await run(['doctor', srv.url]);
		assert.equal(r.code, 0);
		assert.deepEqual(plain(r.stdout), plain(screen('doctor')));
	} finally {
		await srv.stop();
	}
});
