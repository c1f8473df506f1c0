/**
 * A consumer of the package: a separate project with the package as npm would publish it, the dependencies that it declares, and nothing else.
 * Created once for all specs that a Playwright worker runs.
 */

import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { packedLibrary } from './packed.js'
import { test as base } from './page-harness.js'

export { expect, size } from './page-harness.js'

const repository = resolve('.')
const inModules = (path: string) => join(repository, 'node_modules', path)

/** The project of a consumer. */
export class Consumer {
  readonly folder: string
  /** Path of the tarball that `npm pack` wrote. */
  readonly tarball: string
  /** Where the package is unpacked. */
  readonly installed: string

  constructor(folder: string) {
    this.folder = folder
    this.installed = join(folder, 'node_modules', 'aquatint')
    this.tarball = packedLibrary()
    mkdirSync(this.installed, { recursive: true })
    execFileSync('tar', ['-xzf', this.tarball, '-C', this.installed, '--strip-components=1'])
    const { dependencies } = JSON.parse(readFileSync(join(this.installed, 'package.json'), 'utf8')) as {
      dependencies: Record<string, string>
    }
    this.link(...Object.keys(dependencies))
  }

  /** Links packages of this repository's node_modules into the project. */
  link(...names: readonly string[]): void {
    for (const name of names) {
      const place = join(this.folder, 'node_modules', name)
      mkdirSync(dirname(place), { recursive: true })
      symlinkSync(inModules(name), place, 'junction')
    }
  }

  /** Writes files into the project. Afterwards, `src` contains only these sources. */
  write(sources: Readonly<Record<string, string>>, others: Readonly<Record<string, string>> = {}): void {
    rmSync(join(this.folder, 'src'), { recursive: true, force: true })
    const files = { ...others, ...Object.fromEntries(Object.entries(sources).map(([name, code]) => [`src/${name}`, code])) }
    for (const [name, text] of Object.entries(files)) {
      mkdirSync(dirname(join(this.folder, name)), { recursive: true })
      writeFileSync(join(this.folder, name), text)
    }
  }

  /**
   * The type errors that TypeScript reports for the sources with a strict configuration; empty if there are none. `typescript` is the
   * npm package of the compiler, `lib` the compiler option.
   */
  typeErrors({
    typescript = 'typescript',
    lib = ['es2024', 'dom', 'dom.iterable', 'dom.asynciterable', 'esnext.disposable'],
  }: { readonly typescript?: string; readonly lib?: readonly string[] } = {}): string {
    const compilerOptions = {
      target: 'es2022',
      module: 'esnext',
      moduleResolution: 'bundler',
      lib,
      strict: true,
      exactOptionalPropertyTypes: true,
      skipLibCheck: false,
      noEmit: true,
      jsx: 'react-jsx',
      // The check runs without the types of Node or Vite.
      types: [],
    }
    writeFileSync(join(this.folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, include: ['src'] }))
    const args = [inModules(`${typescript}/bin/tsc`), '-p', '.', '--pretty', 'false']
    return spawnSync(process.execPath, args, { cwd: this.folder, encoding: 'utf8' }).stdout
  }

  /** Builds the project into the folder `dist` with this repository's Vite; `html` is its index.html. Returns the folder. */
  build(html: string, config = "export default { worker: { format: 'es' } }\n"): string {
    writeFileSync(join(this.folder, 'index.html'), html)
    writeFileSync(join(this.folder, 'vite.config.js'), config)
    run(this.folder, 'vite/bin/vite.js', 'build', '--base', './', '--logLevel', 'error')
    return join(this.folder, 'dist')
  }

  /** Runs a tool of this repository's node_modules in the project's folder. @throws Error with the tool's output if it fails */
  run(tool: string, ...args: readonly string[]): void {
    run(this.folder, tool, ...args)
  }
}

function run(cwd: string, tool: string, ...args: readonly string[]): void {
  const { status, stdout, stderr } = spawnSync(process.execPath, [inModules(tool), ...args], { cwd, encoding: 'utf8' })
  if (status !== 0) throw new Error(`${tool} ${args.join(' ')} ended with ${status}:\n${stdout}${stderr}`)
}

/** Playwright's test, with a consumer for each worker. */
export const test = base.extend<object, { consumer: Consumer }>({
  consumer: [
    async ({ browserName: _browser }, use) => {
      const folder = mkdtempSync(join(tmpdir(), 'aquatint-consumer-'))
      try {
        await use(new Consumer(folder))
      } finally {
        rmSync(folder, { recursive: true, force: true })
      }
    },
    { scope: 'worker', timeout: 180_000 },
  ],
})
