// server-everything as a process that can be killed and replaced on its port. Each
// of its sessions gets one more tool, `append`, which writes its argument to a file
// as often as it really runs: the count that "never twice" is judged by.
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { until } from '../lib/wait.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));
const program = path.join(here, 'node_modules/@modelcontextprotocol/server-everything/dist/index.js');

async function freePort() {
	const l = net.createServer();
	await new Promise((ok) => l.listen(0, '127.0.0.1', ok));
	const { port } = l.address();
	await new Promise((ok) => l.close(ok));
	return port;
}

const answers = (port) => new Promise((ok) => {
	const s = net.connect(port, '127.0.0.1', () => { s.destroy(); ok(true); });
	s.on('error', () => ok(false));
});

export class Everything {
	/** transport: 'streamableHttp' or 'sse'; scratch: a directory for the record. */
	constructor(transport, scratch) { Object.assign(this, { transport, record: path.join(scratch, 'ran'), output: '', starts: 0 }); }
	async start() {
		this.port ??= await freePort();
		this.starts++;
		this.child = spawn(process.execPath, ['--import', path.join(here, 'record.mjs'), program, this.transport], { env: { ...process.env, PORT: String(this.port), RECORD: this.record }, stdio: ['ignore', 'pipe', 'pipe'] });
		for (const s of [this.child.stdout, this.child.stderr]) s.on('data', (d) => { this.output = (this.output + d).slice(-4000); });
		await until(() => answers(this.port), 15000, `server-everything on its port: ${this.output}`);
	}
	async stop() {
		const { child } = this;
		if (!child || child.exitCode !== null || child.signalCode !== null) return;
		const gone = new Promise((ok) => child.once('exit', ok));
		child.kill('SIGKILL');
		await gone;
	}
	async replace() { await this.stop(); await this.start(); }
	/** What `append` was run with, once for each run. */
	get ran() { return fs.existsSync(this.record) ? fs.readFileSync(this.record, 'utf8').split('\n').filter(Boolean) : []; }
}
