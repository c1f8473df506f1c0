/** When the system refuses a write, `aquatint shard` explains this in its own words, ends with exit code 1, and can be run again. */

import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, expect, test, vi } from 'vitest'
import { filesBelow, fixtures, run, temporaryFolder } from '../testing.js'

const temporary = await temporaryFolder()
const source = join(fixtures, 'tiny-sd15/repo')
afterEach(() => {
  vi.restoreAllMocks()
})

/** The prototype of `FileHandle`, a class that Node does not export. */
async function fileHandles() {
  const handle = await open(join(temporary, 'any'), 'w')
  await handle.close()
  return Object.getPrototypeOf(handle) as typeof handle
}

test.each([
  [
    'ENOSPC',
    'StorageError',
    'disk-space',
    /^There is no space left for \S+\. Complete files are kept: free some space and run the same/,
  ],
  [
    'EDQUOT',
    'StorageError',
    'disk-space',
    /^There is no space left for \S+\. Complete files are kept: free some space and run the same/,
  ],
  ['EFBIG', 'StorageError', 'file-size', /^The disk of \S+ cannot hold a file that large; choose a smaller --max-shard-size\.$/],
])('%s becomes a %s with the code %s', async (system, kind, code, message) => {
  const out = join(temporary, system)
  const line = ['shard', source, '--out', out, '--max-shard-size', '800KB']
  const writing = vi
    .spyOn(await fileHandles(), 'write')
    .mockRejectedValue(Object.assign(new Error(`${system}: the system's words, write`), { code: system }))
  const [json, text] = [await run([...line, '--json']), await run(line)]
  expect(writing).toHaveBeenCalled()
  const { ok, error } = JSON.parse(json.stdout) as { ok: boolean; error: { message: string } }
  expect([ok, json.code, text.code, text.stdout]).toEqual([false, 1, 1, ''])
  expect(error).toMatchObject({ kind, code, message: expect.stringMatching(message) as string, details: { out } })
  expect(text.stderr.split('\n').at(-2)).toBe(`aquatint: ${error.message}`)

  writing.mockRestore()
  expect((await run(line)).code).toBe(0)
  expect([...(await filesBelow(out)).keys()]).toContain('model_index.json')
})
