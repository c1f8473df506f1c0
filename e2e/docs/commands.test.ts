/**
 * Runs the `aquatint` commands of the documents in this process on small fixtures, in one folder for each document, so that a command finds
 * what the previous one wrote. Of `npm run` and `npm test`, only the script is checked to exist. Commands that match `known` are skipped.
 */

import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { run } from '../../cli/testing.js'
import { startHubServer } from '../hub-server/server.js'
import type { HubServer } from '../hub-server/types.js'
import { findSnippet, readSnippets } from './read-docs.js'

/** The fixture behind each folder that the documents name. */
const folders: Readonly<Record<string, string>> = { sdxl: 'tiny-sdxl', sd3: 'tiny-sd3', 'my-model': 'tiny-sdxl' }
/** npm's own commands, and those of dependencies, which the documents may name; nothing runs them here. */
const known = /^npm (init -y|pack|install( .*)?)$|^npx (vite|vitest)( |$)/
const { scripts } = JSON.parse(readFileSync('package.json', 'utf8')) as { scripts: Record<string, string> }
const root = resolve('.')
let [work, hub]: [string, HubServer | undefined] = ['', undefined]

beforeAll(async () => {
  work = mkdtempSync(join(tmpdir(), 'aquatint-docs-'))
  hub = await startHubServer({
    repositories: {
      'stabilityai/stable-diffusion-xl-base-1.0': 'fixtures/tiny-sdxl/repo',
      'nerijs/pixel-art-xl': { 'pixel-art-xl.safetensors': readFileSync('fixtures/lora/kohya-xl.safetensors') },
    },
  })
})
afterAll(async () => {
  await hub?.close()
  rmSync(work, { recursive: true })
})

/** The folder in which a document's commands run. */
function folderOf(file: string): string {
  const folder = join(work, file.replaceAll('/', '-'))
  if (!existsSync(folder)) {
    for (const [name, fixture] of Object.entries(folders)) {
      cpSync(`fixtures/${fixture}/repo`, join(folder, name), { recursive: true })
    }
    cpSync('fixtures/lora/peft-xl.safetensors', join(folder, 'toy.safetensors'))
    cpSync('fixtures/textual-inversion/xl.safetensors', join(folder, 'badhands.safetensors'))
  }
  return folder
}

const commands = readSnippets('sh').flatMap(({ file, code }) =>
  code
    .split('\n')
    .map((line) => line.replace(/ +#.*$/, '').trim())
    .filter((line) => line !== '')
    .map((command) => ({ file, command })),
)

test('the documents contain commands', () => expect(commands.length).toBeGreaterThan(10))

test.each(commands)('$file: $command', async ({ file, command }) => {
  if (known.test(command)) return
  const [program, ...args] = command.replace(/^npx (--no -- )?|^npm exec -- /, '').split(' ')
  if (program === 'aquatint') await runAquatint(folderOf(file), args)
  else if (program === 'npm') expect(Object.keys(scripts)).toContain(args[0] === 'run' ? args[1] : args[0])
  else throw new Error(`This test cannot run the command "${command}"`)
  if (args[1] === 'plan') expect((await run(['inspect', ...args.slice(args.indexOf('--') + 1)])).code).toBe(0)
})

/** Runs a command line with its paths in `folder`. For `serve`, it requests the list of files and then stops the server. */
async function runAquatint(folder: string, words: readonly string[]): Promise<void> {
  const inFolder = (word: string) => (word.startsWith('./') || /^s[\w-]+$/.test(word) ? join(folder, word) : word)
  const [name = '', ...rest] = words
  const args = [
    name,
    ...rest.map((word, i) => (i === 0 || ['--out', '--lora', '--embedding'].includes(rest[i - 1] ?? '') ? inFolder(word) : word)),
  ]
  if (args.includes('stabilityai/stable-diffusion-xl-base-1.0')) args.push('--endpoint', hub?.url ?? '')
  if (name !== 'serve') {
    const { code, stderr } = await run(args)
    expect([code, stderr.includes('error') ? stderr : '']).toEqual([0, ''])
    return
  }
  const stop = new AbortController()
  let listed: Promise<{ readonly files: readonly { readonly path: string }[] }> | undefined
  const { code } = await run([...args, '--port', '0', '--json'], {
    signal: stop.signal,
    stdout: (text) => {
      const { url } = JSON.parse(text) as { url: string }
      listed = fetch(`${url}files.json`).then((answer) => answer.json() as NonNullable<typeof listed>)
      listed.finally(() => stop.abort()).catch(() => {})
    },
  })
  const paths = (await listed)?.files.map(({ path }) => path)
  expect(code).toBe(0)
  expect(paths).toContain('model_index.json')
}

test('the self-hosting guide’s script lists a folder’s files with their hashes', () => {
  const folder = join(work, 'listed')
  cpSync('fixtures/tiny-sd15/repo', folder, { recursive: true })
  mkdirSync(join(work, 'script'))
  const script = join(work, 'script', 'list-files.mjs')
  writeFileSync(script, findSnippet('files.json', 'js').code)
  // Run it twice: the second list must not contain files.json itself.
  for (let i = 0; i < 2; i++) execFileSync(process.execPath, [script, folder], { cwd: root })
  const { files } = JSON.parse(readFileSync(join(folder, 'files.json'), 'utf8')) as {
    files: { path: string; size: number; sha256: string }[]
  }
  expect(files.map(({ path }) => path)).toContain('unet/config.json')
  expect(files.map(({ path }) => path)).not.toContain('files.json')
  for (const { path, size, sha256 } of files) {
    const bytes = readFileSync(join(folder, path))
    expect([size, sha256]).toEqual([bytes.length, createHash('sha256').update(bytes).digest('hex')])
  }
})
