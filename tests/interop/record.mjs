// Loaded before server-everything: gives every server it makes the tool `append`,
// which nobody calls read-only or idempotent.
import fs from 'node:fs';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { z } from 'zod';

const { connect } = McpServer.prototype;
McpServer.prototype.connect = function (transport) {
	this.registerTool('append', { description: 'writes a line', inputSchema: { line: z.string() } }, ({ line }) => {
		fs.appendFileSync(process.env.RECORD, `${line}\n`);
		return { content: [{ type: 'text', text: `wrote ${line}` }] };
	});
	return connect.call(this, transport);
};
