/** `npm run dev` serves the list of the bundled model's files (files.json), as the built site does. */

import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createServer } from 'vite'
import { expect, test } from 'vitest'

test('the dev server lists the bundled model’s files, with sizes and hashes, and serves them', async () => {
  const server = await createServer({ server: { port: 0, host: '127.0.0.1', hmr: false, watch: null }, logLevel: 'error' })
  try {
    await server.listen()
    const [origin] = server.resolvedUrls?.local ?? []
    const base = new URL('models/aquatint-emoji/', origin)
    const answer = await fetch(new URL('files.json', base))
    expect(answer.headers.get('content-type')).toBe('application/json')
    const { files } = (await answer.json()) as { files: { path: string; size: number; sha256: string }[] }
    expect(files.map(({ path }) => path)).toContain('model_index.json')
    for (const { path, size, sha256 } of files) {
      const bytes = readFileSync(`public/models/aquatint-emoji/${path}`)
      expect([bytes.length, createHash('sha256').update(bytes).digest('hex')]).toEqual([size, sha256])
    }
    const index = files.find(({ path }) => path === 'model_index.json')
    expect((await (await fetch(new URL('model_index.json', base))).arrayBuffer()).byteLength).toBe(index?.size)
    expect((await fetch(new URL('../nothing/files.json', base))).headers.get('content-type')).not.toBe('application/json')
  } finally {
    await server.close()
  }
})
