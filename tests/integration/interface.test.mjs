// The command line, the environment, the log.
import fs from 'node:fs';
import path from 'node:path';
import { execFileSync } from 'node:child_process';
import { assert, assertText, BINARY, describe, it, never, ROOT, run, scenario, scratchDirectory, until } from '../lib/scenario.mjs';

const URL_ = 'http://127.0.0.1:9/mcp';

describe('the command line', { concurrency: 4 }, () => {
	it('--help goes to stdout with status 0 and names every option the manual names', async () => {
		const { code, stdout, stderr } = await run(['--help']);
		assert.equal(code, 0);
		assert.equal(stderr, '');
		const named = new Set(stdout.match(/--[a-z][a-z0-9-]+/g));
		for (const o of ['--header', '--transport', '--idle-timeout', '--request-timeout', '--hold-time', '--max-retries', '--keepalive', '--log-level', '--silent', '--tool-errors', '--breaker-threshold']) assert.ok(named.has(o), `${o} is missing`);
		const manual = fs.readFileSync(path.join(ROOT, 'man/mcp-holdfast.1'), 'utf8').replaceAll('\\-', '-');
		for (const o of named) assert.ok(manual.includes(o.slice(2)), `${o} is not in the manual`);
	});

	it('--version says name and version', async () => {
		const { code, stdout } = await run(['--version']);
		assert.equal(code, 0);
		assert.match(stdout, /^mcp-holdfast \d+\.\d+\.\d+/);
	});

	it('no plain word of the manual is taken for an option', () => {
		const manual = fs.readFileSync(path.join(ROOT, 'man/mcp-holdfast.1'), 'utf8');
		assert.deepEqual(manual.match(/^.*\bFl Fl [a-z0-9-]+ [;:,.] [a-z].*$/gm), null);
	});

	it('the manual has every section promised and passes its lint', () => {
		const file = path.join(ROOT, 'man/mcp-holdfast.1');
		const text = fs.readFileSync(file, 'utf8');
		for (const section of ['EXIT STATUS', 'ENVIRONMENT', 'FILES', 'EXAMPLES', 'SIGNALS', 'SECURITY', 'INTERNALS']) assert.match(text, new RegExp(`^\\.Sh ${section}|^\\.Sh "${section}"`, 'm'));
		execFileSync('mandoc', ['-T', 'lint', '-W', 'warning', file], { stdio: 'pipe' });
	});

	it('bash completes options, values, commands and files with blanks', async () => {
		const { stdout } = await run(['--completion', 'bash']);
		const dir = scratchDirectory();
		fs.mkdirSync(path.join(dir, 'a b'));
		const complete = (...words) => execFileSync('bash', ['-c', `${stdout}\ncompopt() { local IFS=" "; echo "compopt $*"; }\nCOMP_WORDS=("$@") COMP_CWORD=$(($# - 1))\n_mcp_holdfast; printf '%s\\n' "\${COMPREPLY[@]}"`, 'bash', 'mcp-holdfast', ...words], { cwd: dir, encoding: 'utf8' }).trim().split('\n');
		assert.deepEqual(complete('st'), ['status']);
		assert.deepEqual(complete('u', '--hold'), ['--hold-time']);
		assert.deepEqual(complete('u', '--jitter', ''), ['full', 'equal', 'none']);
		assert.deepEqual(complete('u', '--cacert', 'a'), ['compopt -o filenames', 'a b']);
		fs.rmSync(dir, { recursive: true });
	});

	const BAD = {
		'no URL': [[], /URL|usage/i],
		'an unknown option, with the nearest name': [[URL_, '--request-timout', '5s'], /request-timeout/],
		'a bare number below 100 for a timeout, with both readings': [[URL_, '--request-timeout', '30'], /30 ?ms[\s\S]*30 ?s|30 ?s[\s\S]*30 ?ms/],
		'a duration that is none': [[URL_, '--request-timeout', 'soon'], /request-timeout/],
		'a negative duration': [[URL_, '--hold-time', '-5s'], /hold-time/],
		'a value out of range': [[URL_, '--backoff-multiplier', '0.1'], /backoff-multiplier/],
		'an unknown transport': [[URL_, '--transport', 'pigeon'], /transport/],
		'an unknown jitter': [[URL_, '--jitter', 'some'], /jitter/],
		'an option without its value': [[URL_, '--header'], /header/],
		'a header that is none': [[URL_, '--header', 'nonsense'], /header/i],
		'a header with a line break': [[URL_, '--header', 'A: b\r\nC: d'], /header/i],
		'a URL that is none': [['not a url'], /URL/i],
		'a scheme that is not HTTP': [['ftp://127.0.0.1/x'], /http/i],
		'http to a host that is not loopback': [['http://example.com/mcp'], /allow-http|https/],
		'two URLs': [[URL_, 'http://127.0.0.1:8/mcp'], /./],
		'a variable that is not set, by its name': [[URL_, '-H', 'Authorization: Bearer ${NO_SUCH_VARIABLE_HERE}'], /NO_SUCH_VARIABLE_HERE/],
		'a header file that is not there': [[URL_, '--header-file', '/nonexistent/file'], /header-file|nonexistent/],
	};
	for (const [what, [argv, pattern]] of Object.entries(BAD))
		it(`${what} is a usage error with status 2`, async () => {
			const { code, stdout, stderr } = await run(argv);
			assert.equal(code, 2, stderr);
			assert.equal(stdout, '');
			assert.match(stderr, pattern);
			assert.ok(stderr.trim().split('\n').length <= 4, stderr);
		});

	const GOOD = [
		['--request-timeout', '500ms'], ['--request-timeout=2s'], ['--request-timeout', '5m'], ['--request-timeout', '100'], ['--idle-timeout', 'auto'], ['--idle-timeout', '0'],
		['--transport', 'http-first'], ['--max-retries', '-1'], ['-v'], ['--debug'], ['-s'], ['--silent'], ['--jitter', 'equal'], ['--log-format', 'json'],
		['--request-timeout', '1s', '--request-timeout', '2s'],
	];
	for (const argv of GOOD)
		it(`${argv.join(' ')} is understood`, async () => {
			const { code, stderr } = await run([URL_, ...argv]);
			assert.equal(code, 0, stderr);
		});

	scenario('the options of mcp-remote are understood under its names and units', { defaults: [], args: ['8765', '--transport', 'http-first', '--allow-http', '--enable-proxy', '--host', '127.0.0.1', '--auth-timeout', '60', '--resource', 'https://example.com/x', '--ignore-tool', 'put*', '--static-oauth-client-metadata', '{"scope":"a"}', '--headers-timeout', '60', '--body-timeout', '60'] }, async ({ br }) => {
		assertText(await br.call('echo', { text: 'pasted' }), 'pasted');
	});
});

describe('the environment', { concurrency: 4 }, () => {
	scenario('gives every option its name', { defaults: [], env: { MCP_HOLDFAST_HEADER: 'X-One: 1\nX-Two: 2', MCP_HOLDFAST_LOG_LEVEL: 'debug', MCP_HOLDFAST_INITIAL_RETRY_DELAY: '100' } }, async ({ srv, br }) => {
		await br.call('echo');
		const { headers } = srv.seen('tools/call')[0];
		assert.equal(headers['x-one'], '1');
		assert.equal(headers['x-two'], '2');
		assert.match(br.stderr, /debug/i);
	});

	scenario('yields to argv', { defaults: ['--log-level', 'error'], env: { MCP_HOLDFAST_LOG_LEVEL: 'trace' } }, async ({ br }) => {
		await br.call('echo');
		assert.equal(br.stderr, '');
	});

	it('is held to the same rules as argv', async () => {
		const { code, stderr } = await run([URL_], { env: { MCP_HOLDFAST_REQUEST_TIMEOUT: 'soon' } });
		assert.equal(code, 2);
		assert.match(stderr, /MCP_HOLDFAST_REQUEST_TIMEOUT|request-timeout/);
	});

	scenario('takes headers without number', { args: Array.from({ length: 100 }, (_, i) => ['-H', `X-Number-${i}: ${i}`]).flat() }, async ({ srv, br }) => {
		await br.call('echo', { text: 'a' });
		assert.equal(srv.seen('tools/call')[0].headers['x-number-99'], '99');
	});

	scenario('expands ${NAME} in header values', { env: { MY_TOKEN: 'expanded-token-value' }, args: ['-H', 'X-Token: Bearer ${MY_TOKEN}!'] }, async ({ srv, br }) => {
		await br.call('echo');
		assert.equal(srv.seen('tools/call')[0].headers['x-token'], 'Bearer expanded-token-value!');
	});
});

describe('the log', { concurrency: 4 }, () => {
	scenario('is quiet when all is well', { defaults: [] }, async ({ br }) => {
		await br.call('echo');
		br.eof();
		await br.exited();
		assert.equal(br.stderr, '');
	});

	scenario('has UTC time, level, pid and the host on each line', { defaults: ['--log-level', 'debug'] }, async ({ srv, br }) => {
		srv.first('tools/list', (e) => e.reset());
		await br.request('tools/list');
		const lines = br.stderr.trim().split('\n');
		assert.ok(lines.length);
		for (const l of lines) {
			assert.match(l, /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z/);
			assert.match(l, /\b(error|warn|info|debug)\b/i);
			assert.ok(l.includes(String(br.pid)), l);
			assert.match(l, /127\.0\.0\.1/);
		}
	});

	scenario('takes its name from --name', { defaults: ['--log-level', 'debug', '--name', 'wiki'] }, async ({ br }) => {
		await br.call('echo');
		for (const l of br.stderr.trim().split('\n')) assert.match(l, /wiki/);
	});

	scenario('in JSON is one object a line with its members', { defaults: ['--log-level', 'debug', '--log-format', 'json', '--initial-retry-delay', '100', '--hold-time', '400ms', '--breaker-threshold', '2'] }, async ({ srv, br }) => {
		await srv.standing();
		srv.first('tools/list', (e) => e.reply(502));
		await br.request('tools/list');
		await srv.stop();
		await until(async () => (await br.request('tools/list')).error?.data.kind === 'circuit_open', 9000, 'circuit_open');
		const lines = br.stderr.trim().split('\n').map((l) => JSON.parse(l));
		assert.ok(lines.every((o) => Number(o.pid) === br.pid));
		assert.ok(lines.some((o) => 'attempt' in o), 'attempt');
		assert.ok(lines.some((o) => 'circuitState' in o), 'circuitState');
		assert.ok(lines.some((o) => 'latencyMs' in o), 'latencyMs');
	});

	scenario('holds message bodies at trace only', {}, async ({ br }) => {
		await br.call('echo', { text: 'unmistakable-body-text' });
		assert.doesNotMatch(br.stderr, /unmistakable-body-text/);
	});

	scenario('shows message bodies at trace', { defaults: ['--log-level', 'trace'] }, async ({ br }) => {
		await br.call('echo', { text: 'unmistakable-body-text' });
		await br.logged(/unmistakable-body-text/);
	});

	scenario('goes to --log-file, too, which only its owner may read', { args: ({ scratch }) => ['--log-file', path.join(scratch, 'log')] }, async ({ br, scratch }) => {
		await br.call('echo');
		const file = path.join(scratch, 'log');
		await until(() => fs.existsSync(file) && fs.statSync(file).size > 0, 3000, 'the log file');
		assert.equal(fs.statSync(file).mode & 0o777, 0o600);
	});

	scenario('--silent says nothing, not even of an outage', { defaults: ['--initial-retry-delay', '100', '--silent'] }, async ({ srv, br }) => {
		await srv.standing();
		srv.cut();
		await br.request('tools/list');
		assert.equal(br.stderr, '');
	});

	scenario('--silent leaves the log file alone', { defaults: [], args: ({ scratch }) => ['--silent', '--log-level', 'info', '--log-file', path.join(scratch, 'log')] }, async ({ br, scratch }) => {
		assertText(await br.call('echo', { text: 'x' }), 'x');
		assert.match(fs.readFileSync(path.join(scratch, 'log'), 'utf8'), /connected/);
		assert.equal(br.stderr, '');
	});

	it('--silent still gives the reason why it can not start', async () => {
		const { code, stderr } = await run(['--silent', URL_, '--private-key-file', path.join(ROOT, 'README.md')]);
		assert.equal(code, 1);
		assert.match(stderr, /can not start: --private-key-file.*\n$/);
	});

	it('--silent still gives the reason of a non-zero exit', async () => {
		const { code, stderr } = await run(['--silent', URL_, '--no-such-option']);
		assert.equal(code, 2);
		assert.match(stderr, /no-such-option/);
	});

	scenario('counts repeats instead of repeating them', { defaults: ['--log-level', 'info', '--initial-retry-delay', '100', '--max-retry-delay', '100', '--jitter', 'none'] }, async ({ srv, br }) => {
		await srv.standing();
		let at = 0;
		srv.onConnection = (s) => { at++; s.resetAndDestroy(); return true; };
		srv.cut();
		await until(() => at > 25, 12000, 'attempts');
		assert.ok(br.stderr.trim().split('\n').length < 20, `${br.stderr.trim().split('\n').length} lines for ${at} attempts`);
		srv.onConnection = undefined;
		await never(() => !br.alive, 50, 'the end');
	});
});

describe('the installation', () => {
	it('goes to a directory with a blank in its name, readable by all whatever the umask, and away again', () => {
		const dir = scratchDirectory(), root = path.join(dir, 'a root');
		const make = (target) => execFileSync('/bin/sh', ['-c', 'umask 077; exec make -s -o "$1" "$2" BIN="$1" DESTDIR="$3" prefix=/usr', 'sh', BINARY, target, root], { cwd: ROOT, stdio: 'pipe' });
		const files = () => fs.readdirSync(root, { recursive: true, withFileTypes: true }).filter((f) => f.isFile());
		make('install');
		assert.equal(files().length, 5);
		for (const f of files()) assert.equal(fs.statSync(path.join(f.path, f.name)).mode & 0o777, f.name === 'mcp-holdfast' && f.path.endsWith('/bin') ? 0o755 : 0o644, f.name);
		make('uninstall');
		assert.deepEqual(files(), []);
		fs.rmSync(dir, { recursive: true });
	});
});
