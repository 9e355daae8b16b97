// OTLP over HTTP with JSON bodies, held field by field to the JSON mapping of the
// OpenTelemetry Protocol: lower-case hex ids, 64-bit numbers as strings, enums as
// numbers, and nothing that the protocol does not know.
import http from 'node:http';
import { scenario, describe, assert, until, goAway, QUICK } from '../lib/scenario.mjs';

const HEX = (n) => new RegExp(`^(?!0+$)[0-9a-f]{${n}}$`);
const only = (object, ...keys) => { for (const k of Object.keys(object)) assert.ok(keys.includes(k), `unknown member ${k} in ${JSON.stringify(object).slice(0, 200)}`); };
const nanos = (v) => { assert.equal(typeof v, 'string'); assert.match(v, /^\d{19}$/); return BigInt(v); };

function attributes(list) {
	assert.ok(Array.isArray(list));
	const out = {};
	for (const a of list) {
		only(a, 'key', 'value');
		const [[kind, v], ...rest] = Object.entries(a.value);
		assert.deepEqual(rest, []);
		if (kind === 'stringValue') assert.equal(typeof v, 'string');
		else if (kind === 'intValue') assert.match(v, /^-?\d+$/);
		else assert.fail(`value of kind ${kind}`);
		assert.ok(!(a.key in out), `${a.key} twice`);
		out[a.key] = kind === 'intValue' ? Number(v) : v;
	}
	return out;
}
function checkScope(s) { only(s.scope, 'name', 'version'); assert.equal(s.scope.name, 'mcp-holdfast'); }
function checkSpan(s) {
	only(s, 'traceId', 'spanId', 'parentSpanId', 'flags', 'name', 'kind', 'startTimeUnixNano', 'endTimeUnixNano', 'attributes', 'status');
	assert.match(s.traceId, HEX(32));
	assert.match(s.spanId, HEX(16));
	if ('parentSpanId' in s) assert.match(s.parentSpanId, HEX(16));
	assert.ok(Number.isInteger(s.flags) && Number.isInteger(s.kind) && s.kind >= 1 && s.kind <= 5);
	const [from, to] = [nanos(s.startTimeUnixNano), nanos(s.endTimeUnixNano)];
	assert.ok(from <= to && to - from < 60_000_000_000n);
	assert.ok(Math.abs(Number(to / 1_000_000n) - Date.now()) < 60_000, 'the end is not now');
	only(s.status, 'code', 'message');
	assert.ok([0, 1, 2].includes(s.status.code));
	return { ...s, attributes: attributes(s.attributes) };
}
function checkPoint(p, kind) {
	only(p, 'attributes', 'startTimeUnixNano', 'timeUnixNano', ...(kind === 'histogram' ? ['count', 'sum', 'bucketCounts', 'explicitBounds'] : ['asDouble']));
	attributes(p.attributes);
	assert.ok(nanos(p.startTimeUnixNano) <= nanos(p.timeUnixNano));
	if (kind !== 'histogram') { assert.equal(typeof p.asDouble, 'number'); return; }
	assert.match(p.count, /^\d+$/);
	assert.equal(p.bucketCounts.length, p.explicitBounds.length + 1);
	assert.equal(p.bucketCounts.reduce((n, c) => n + BigInt(c), 0n), BigInt(p.count));
	assert.deepEqual(p.explicitBounds, [...p.explicitBounds].sort((a, b) => a - b));
}
function checkMetric(m) {
	only(m, 'name', 'unit', 'description', 'sum', 'gauge', 'histogram');
	const kinds = ['sum', 'gauge', 'histogram'].filter((k) => k in m);
	assert.equal(kinds.length, 1);
	const [kind] = kinds;
	only(m[kind], 'dataPoints', ...(kind === 'sum' ? ['aggregationTemporality', 'isMonotonic'] : kind === 'histogram' ? ['aggregationTemporality'] : []));
	if (kind !== 'gauge') assert.equal(m[kind].aggregationTemporality, 2);
	for (const p of m[kind].dataPoints) checkPoint(p, kind);
}

/** A collector that takes everything, or answers with `status`, or hangs. */
class Collector {
	constructor() { Object.assign(this, { requests: [], spans: [], metrics: new Map(), resources: [], status: 200, hangs: false, errors: [] }); }
	static async start() {
		const c = new Collector();
		c.server = http.createServer((req, res) => {
			const chunks = [];
			req.on('data', (d) => chunks.push(d));
			req.on('end', () => {
				c.requests.push({ url: req.url, headers: req.headers, body: Buffer.concat(chunks).toString() });
				if (c.hangs) return;
				try { if (c.status === 200) c.take(req, JSON.parse(Buffer.concat(chunks))); } catch (e) { c.errors.push(e); }
				res.writeHead(c.status, { 'Content-Type': 'application/json' }).end('{"partialSuccess":{}}');
			});
		});
		await new Promise((ok) => c.server.listen(0, '127.0.0.1', ok));
		c.url = `http://127.0.0.1:${c.server.address().port}`;
		return c;
	}
	take(req, body) {
		assert.equal(req.headers['content-type'], 'application/json');
		const traces = req.url.endsWith('/v1/traces');
		assert.ok(traces || req.url.endsWith('/v1/metrics'), req.url);
		const [outer, inner, list] = traces ? ['resourceSpans', 'scopeSpans', 'spans'] : ['resourceMetrics', 'scopeMetrics', 'metrics'];
		only(body, outer);
		for (const r of body[outer]) {
			only(r, 'resource', inner);
			only(r.resource, 'attributes');
			this.resources.push(attributes(r.resource.attributes));
			for (const s of r[inner]) {
				only(s, 'scope', list);
				checkScope(s);
				for (const x of s[list]) if (traces) this.spans.push(checkSpan(x)); else { checkMetric(x); this.metrics.set(x.name, x); }
			}
		}
	}
	stop() { this.server.closeAllConnections(); return new Promise((ok) => this.server.close(ok)); }
}

const PARENT = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
/** A scenario with a collector that the bridge exports to. */
function exported(name, { env = {}, ...setup }, body) {
	let collector;
	scenario(name, { ...setup, args: async ({ scratch }) => { collector = await Collector.start(); return setup.args ?? []; },
		env: ({ scratch }) => ({ XDG_RUNTIME_DIR: scratch, OTEL_EXPORTER_OTLP_ENDPOINT: collector.url, OTEL_BSP_SCHEDULE_DELAY: '50', OTEL_METRIC_EXPORT_INTERVAL: '200', ...(typeof env === 'function' ? env(collector) : env) }) },
	async (x) => {
		try { await body({ ...x, collector }); assert.deepEqual(collector.errors, []); } finally { await collector.stop(); }
	});
}
const named = (collector, re, n = 1) => until(() => { const l = collector.spans.filter((s) => re.test(s.name)); return l.length >= n && l; }, 6000, `${n} spans ${re}`);

describe('OTLP traces', () => {
	exported('are client spans by the conventions for MCP', {}, async ({ br, srv, collector }) => {
		await br.call('echo', { text: 'x' }, { id: 'call-7' });
		const [s] = await named(collector, /^tools\/call echo$/);
		assert.equal(s.kind, 3);
		assert.equal(s.status.code, 0);
		const a = s.attributes;
		assert.equal(a['mcp.method.name'], 'tools/call');
		assert.equal(a['gen_ai.tool.name'], 'echo');
		assert.equal(a['gen_ai.operation.name'], 'execute_tool');
		assert.equal(a['mcp.protocol.version'], '2025-06-18');
		assert.equal(a['jsonrpc.request.id'], 'call-7');
		assert.equal(a['network.transport'], 'tcp');
		assert.equal(a['server.address'], '127.0.0.1');
		assert.equal(a['server.port'], srv.port);
		assert.match(a['mcp.session.id'], /^[0-9a-f]{6}$/);
		for (const r of collector.requests) assert.ok(!r.body.includes(srv.session.id), 'the session id itself was exported');
		assert.equal((await named(collector, /^initialize$/)).length, 1);
		assert.equal(collector.resources[0]['service.name'], 'mcp-holdfast');
	});
	exported('go to an endpoint of their own', { env: ({ url }) => ({ OTEL_EXPORTER_OTLP_ENDPOINT: '', OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `${url}/a/longer/path/than/any/other/that/leads/to/v1/traces` }) }, async ({ br, collector }) => {
		await br.call('echo', { text: 'x' });
		await named(collector, /^tools\/call echo$/);
		assert.ok(collector.requests.every((r) => r.url === '/a/longer/path/than/any/other/that/leads/to/v1/traces'));
	});
	exported('have no attribute twice, and no header that breaks the request', { env: { OTEL_RESOURCE_ATTRIBUTES: 'service.version=7,service.name=mine', OTEL_EXPORTER_OTLP_HEADERS: 'bad name=1,content-length=2,Content-Type=text/plain,good=3' } }, async ({ br, collector }) => {
		await br.call('echo', { text: 'x' });
		await named(collector, /^tools\/call echo$/);
		assert.equal(collector.resources[0]['service.version'], '7');
		assert.equal(collector.requests[0].headers.good, '3');
		assert.match(br.stderr, /name that can not be sent/);
	});
	exported('tell errors by their type', {}, async ({ br, collector }) => {
		await br.call('nowhere');
		const [s] = await named(collector, /^tools\/call nowhere$/);
		assert.equal(s.status.code, 2);
		assert.equal(s.attributes['error.type'], '-32602');
		assert.equal(s.attributes['rpc.response.status_code'], '-32602');
	});
	exported('have the request\'s traceparent as their parent', {}, async ({ br, srv, collector }) => {
		await br.call('echo', { text: 'x' }, { meta: { traceparent: PARENT } });
		const [s] = await named(collector, /^tools\/call/);
		assert.equal(s.traceId, PARENT.slice(3, 35));
		assert.equal(s.parentSpanId, PARENT.slice(36, 52));
		assert.equal(srv.seen('tools/call')[0].headers.traceparent, PARENT);
	});
	exported('respect a parent that is not sampled', {}, async ({ br, collector }) => {
		await br.call('echo', { text: 'x' }, { meta: { traceparent: PARENT.replace(/01$/, '00') } });
		await br.call('put', {});
		await named(collector, /^tools\/call put$/);
		assert.equal(collector.spans.filter((s) => /echo/.test(s.name)).length, 0);
	});
	exported('with --trace-inject begin in the body, once for all attempts', { args: ['--trace-inject'] }, async ({ br, srv, collector }) => {
		srv.when('tools/call', (ex) => ex.reply(503, { 'Retry-After': '0' }), 1);
		await br.call('echo', { text: 'x' });
		const [first, second] = srv.seen('tools/call');
		const { traceparent } = second.message.params._meta;
		assert.match(traceparent, /^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/);
		assert.equal(first.message.params._meta.traceparent, traceparent);
		assert.equal(second.headers.traceparent, traceparent);
		const [s] = await named(collector, /^tools\/call/);
		assert.equal(s.traceId, traceparent.slice(3, 35));
		assert.equal(s.spanId, traceparent.slice(36, 52));
		assert.equal(s.parentSpanId, undefined);
		assert.equal(s.attributes['mcp_holdfast.attempts'], 2);
	});
	exported('tell of a reconnect', {}, async ({ srv, br, collector }) => {
		const { waiting } = await goAway(srv, br);
		await srv.restart();
		await waiting;
		const [s] = await named(collector, /^mcp_holdfast\.reconnect$/);
		assert.equal(s.kind, 1);
		assert.equal(s.attributes['mcp_holdfast.drop.cause'], 'The server could not be reached');
	});
	exported('go with the resource and headers of the environment', { env: { OTEL_SERVICE_NAME: 'my bridge', OTEL_RESOURCE_ATTRIBUTES: 'deployment.environment=te%20st,service.name=no', OTEL_EXPORTER_OTLP_HEADERS: 'api-key=secret%20value-1,x-two=2' } }, async ({ br, collector }) => {
		await br.call('echo', { text: 'x' });
		await named(collector, /echo/);
		assert.equal(collector.resources[0]['service.name'], 'my bridge');
		assert.equal(collector.resources[0]['deployment.environment'], 'te st');
		assert.equal(collector.requests[0].headers['api-key'], 'secret value-1');
		assert.equal(collector.requests[0].headers['x-two'], '2');
	});
	exported('go out at the end', { env: { OTEL_BSP_SCHEDULE_DELAY: '60000' } }, async ({ br, collector }) => {
		await br.call('echo', { text: 'x' });
		br.eof();
		const end = await br.exited();
		assert.equal(end.code, 0);
		assert.ok(collector.spans.some((s) => s.name === 'tools/call echo'));
	});
	exported('are off with OTEL_SDK_DISABLED', { env: { OTEL_SDK_DISABLED: 'true' } }, async ({ br, collector }) => {
		await br.call('echo', { text: 'x' });
		br.eof();
		await br.exited();
		assert.equal(collector.requests.length, 0);
	});
});

describe('OTLP metrics', () => {
	exported('carry the same numbers', {}, async ({ br, collector }) => {
		for (let i = 0; i < 3; i++) await br.call('echo', { text: 'x' });
		br.eof();
		await br.exited();
		const took = collector.metrics.get('mcp.client.operation.duration');
		assert.equal(took.unit, 's');
		const echo = took.histogram.dataPoints.find((p) => attributes(p.attributes)['gen_ai.tool.name'] === 'echo');
		assert.equal(echo.count, '3');
		assert.deepEqual(echo.explicitBounds, [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300]);
		assert.ok(collector.metrics.get('mcp_holdfast.requests').sum.isMonotonic);
		assert.equal(collector.metrics.get('mcp_holdfast.up').gauge.dataPoints[0].asDouble, 0);
		assert.equal(collector.metrics.get('mcp_holdfast.auth.breaker.open').gauge.dataPoints[0].asDouble, 0);
		assert.equal(collector.metrics.get('mcp_holdfast.auth.breaker.next_try').gauge.dataPoints[0].asDouble, 0);
		assert.equal(collector.metrics.get('mcp_holdfast.auth.breaker.changes').sum.dataPoints[0].asDouble, 0);
	});
});

describe('a collector in trouble', () => {
	exported('that answers 500 costs a line in the log, not an answer', {}, async ({ br, collector }) => {
		collector.status = 500;
		await br.call('echo', { text: 'x' });
		await br.logged(/telemetry could not be exported \(HTTP 500\)/);
		for (let i = 0; i < 20; i++) await br.call('echo', { text: 'x' });
		br.signal('SIGUSR1');
		await br.logged(/counters:/);
		assert.ok(collector.requests.length < 5, `${collector.requests.length} exports: no pause between failures`);
	});
	exported('that hangs delays the end by 500 ms at most', { env: { OTEL_BSP_SCHEDULE_DELAY: '60000', OTEL_METRIC_EXPORT_INTERVAL: '600000' } }, async ({ br, collector }) => {
		collector.hangs = true;
		await br.call('echo', { text: 'x' });
		br.eof();
		const end = await br.exited();
		assert.equal(end.code, 0);
		assert.ok(end.ms < 1500, `${end.ms} ms`);
	});
	exported('that hangs delays a signal\'s end less', { env: { OTEL_BSP_SCHEDULE_DELAY: '60000', OTEL_METRIC_EXPORT_INTERVAL: '600000' } }, async ({ br, collector }) => {
		collector.hangs = true;
		await br.call('echo', { text: 'x' });
		br.signal('SIGTERM');
		const end = await br.exited();
		assert.ok(end.ms < 1000, `${end.ms} ms`);
	});
	exported('that hangs drops what does not fit and goes on', { env: { OTEL_BSP_MAX_QUEUE_SIZE: '16', OTEL_BSP_MAX_EXPORT_BATCH_SIZE: '8' } }, async ({ br, collector }) => {
		collector.hangs = true;
		for (let i = 0; i < 200; i++) await br.call('echo', { text: 'x' });
	});
	scenario('that is no URL is told, and the relay works', { env: ({ scratch }) => ({ XDG_RUNTIME_DIR: scratch, OTEL_EXPORTER_OTLP_ENDPOINT: 'nonsense:' }) }, async ({ br }) => {
		await br.call('echo', { text: 'x' });
		await br.logged(/nothing is exported to OTEL_EXPORTER_OTLP_ENDPOINT/);
	});
	exported('gets nothing that belongs to the MCP server', { args: ['--header', 'Authorization: Bearer tok-verysecretvalue123'] }, async ({ br, collector }) => {
		await br.call('echo', { text: 'x' });
		await named(collector, /echo/);
		for (const r of collector.requests) { assert.equal(r.headers.authorization, undefined); assert.equal(r.headers.cookie, undefined); }
	});
});
