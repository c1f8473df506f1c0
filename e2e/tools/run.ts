/**
 * `npm run docs:tools [name …]`: installs the packed library from npm's registry beside each bundler and each version of TypeScript that docs/install.md
 * lists, builds the smallest app, opens it in Chromium, and waits until the app has drawn a picture of the bundled model. Without names it
 * then writes the table of docs/install.md. It takes several minutes and downloads about 600 MB, so it is not a part of `npm test`.
 */

import { exec } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { chromium, type Browser } from '@playwright/test'
import { chromiumLaunchOptions } from '../../scripts/chromium.mjs'
import { serveFolder } from '../../cli/serve/serve.js'
import { packLibrary } from '../ui/packed.js'
import { startFolder } from '../ui/site-server.js'
import { modelPlaceholder, tools, type Tool } from './tools.js'

const guide = 'docs/install.md'
const [begin, end] = ['<!-- tools: npm run docs:tools -->\n', '<!-- end of tools -->']

/** Tries the tools with these names, or all. Returns the exit code: 1 if one fails. */
export async function main(names: readonly string[]): Promise<number> {
  const chosen = tools.filter(({ name }) => names.length === 0 || names.includes(name))
  const tarball = packLibrary()
  const models = await serveFolder('public/models/aquatint-emoji', { host: '127.0.0.1', port: 0, origin: '*' })
  const browser = await chromium.launch(chromiumLaunchOptions())
  /** The rows of the table. Versions of a tool whose other cells are equal share a row. */
  const rows = new Map<string, { readonly name: string; readonly versions: string[]; readonly rest: string }>()
  let failures = 0
  try {
    for (const tool of chosen) {
      const { version, failure } = await tryTool(tool, tarball, models.url, browser)
      if (failure !== undefined) failures += 1
      console.log(`${tool.name} ${version}: ${failure ?? 'works'}`)
      const tried = tool.output === undefined ? 'types checked, with `skipLibCheck: false`' : 'the built app drew a picture'
      const rest = `${tool.needs} | ${tried}`
      const row = rows.get(tool.name + rest) ?? { name: tool.name, versions: [], rest }
      rows.set(tool.name + rest, row)
      row.versions.push(version)
    }
  } finally {
    await Promise.all([browser.close(), models.close()])
  }
  if (failures === 0 && names.length === 0)
    writeTable([...rows.values()].map(({ name, versions, rest }) => `| ${name} | ${versions.join(', ')} | ${rest} |\n`))
  return failures === 0 ? 0 : 1
}

interface Tried {
  /** The installed version, or the requested one if the installation failed. */
  readonly version: string
  /** What failed; undefined if nothing did. */
  readonly failure?: string
}

async function tryTool(tool: Tool, tarball: string, models: string, browser: Browser): Promise<Tried> {
  const folder = mkdtempSync(join(tmpdir(), 'aquatint-tool-'))
  const [first = ''] = tool.packages
  let version = first
  // NODE_ENV is unset, because `run.mjs` sets it to development, and a user builds an app without it.
  const env = { ...process.env, NODE_ENV: undefined, NEXT_TELEMETRY_DISABLED: '1' }
  const run = (command: string) => promisify(exec)(command, { cwd: folder, maxBuffer: 2 ** 26, env })
  try {
    writeFileSync(join(folder, 'package.json'), JSON.stringify({ name: 'app', private: true, type: 'module' }))
    for (const [path, text] of Object.entries(tool.files)) {
      mkdirSync(dirname(join(folder, path)), { recursive: true })
      writeFileSync(join(folder, path), text.replaceAll(modelPlaceholder, models))
    }
    await run(`npm install --no-audit --no-fund ${resolve(tarball)} ${tool.packages.join(' ')}`)
    const name = first.slice(0, first.lastIndexOf('@'))
    version = (JSON.parse(readFileSync(join(folder, 'node_modules', name, 'package.json'), 'utf8')) as { version: string })
      .version
    await run(`npx --no -- ${tool.build}`)
    if (tool.output !== undefined) await openApp(join(folder, tool.output), browser)
    return { version }
  } catch (error) {
    const { message, stdout = '' } = error as Error & { stdout?: string }
    return { version, failure: `${message}\n${stdout}` }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** Opens a built app. @throws Error with the app's error, or when it has drawn nothing after five minutes */
async function openApp(folder: string, browser: Browser): Promise<void> {
  const served = await startFolder(folder)
  const page = await browser.newPage()
  const said: string[] = []
  page.on('console', (message) => said.push(message.text()))
  page.on('pageerror', (error) => said.push(String(error)))
  try {
    await page.goto(served.url)
    const settled = await page.waitForFunction(() => /^drawn$|Error/.exec(document.title)?.[0], undefined, { timeout: 300_000 })
    if ((await settled.jsonValue()) !== 'drawn') throw new Error(`${await page.title()}\n${said.join('\n')}`)
  } finally {
    await page.close()
    await served.close()
  }
}

function writeTable(rows: readonly string[]): void {
  const text = readFileSync(guide, 'utf8')
  const [from, to] = [text.indexOf(begin), text.indexOf(end)]
  if (from < 0 || to < from) throw new Error(`${guide} has no comments "${begin.trim()}" and "${end}"`)
  const table = `| tool | version | what it needs | tried |\n| --- | --- | --- | --- |\n${rows.join('')}`
  writeFileSync(guide, `${text.slice(0, from + begin.length)}\n${table}\n${text.slice(to)}`)
}
