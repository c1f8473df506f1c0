/**
 * The bundlers and TypeScript versions that docs/install.md lists, each with the smallest project that a user would write for it. `run.ts` installs,
 * builds and opens them.
 */

/** A project that one tool builds. */
export interface Tool {
  /** The name in the table. */
  readonly name: string
  /** Its npm packages besides Aquatint; the first one's version is in the table. */
  readonly packages: readonly string[]
  /** The table's column "what it needs": what a project with this tool must add, such as a setting. */
  readonly needs: string
  /** The project's files by path. */
  readonly files: Readonly<Record<string, string>>
  /** The command that builds it, run with `npx`. */
  readonly build: string
  /** The folder that it writes, with an `index.html`; absent where the command only checks types. */
  readonly output?: string
}

/** In the projects' files, this stands for the address of the bundled model. */
export const modelPlaceholder = 'https://model.example'

const load = `
    const pipeline = await DiffusionPipeline.fromPretrained('${modelPlaceholder}')
    const { images } = await pipeline.generate('a red apple', { numInferenceSteps: 2 })
    images[0].draw(document.querySelector('canvas'))
    await pipeline.dispose()
    document.title = 'drawn'`

const main = `import { DiffusionPipeline } from 'aquatint'

async function run() {
  try {${load}
  } catch (error) {
    document.title = String(error)
  }
}
void run()
`

/** The worker of docs/install.md, for bundlers that do not look for workers inside packages. */
const own = `new Engine({ worker: () => new Worker(new URL('aquatint/worker', import.meta.url), { type: 'module' }) })`

const mainWithEngine = main
  .replace('{ DiffusionPipeline }', '{ DiffusionPipeline, Engine }')
  .replace('  try {', `  try {\n    const engine = ${own}`)
  .replace(`'${modelPlaceholder}')`, `'${modelPlaceholder}', { engine })`)

const page = (script: string) =>
  `<!doctype html>\n<meta charset="utf-8" />\n<title>loading</title>\n<canvas></canvas>\n<script type="module" src="${script}"></script>\n`

const line = '[one line of configuration](embedding.md#in-a-bundler)'
const worker = '[a worker of your own](#a-worker-of-your-own)'

function vite(version: number, needs: string): Tool {
  return {
    name: 'Vite',
    packages: [`vite@${version}`],
    needs,
    files: {
      'index.html': page('/main.js'),
      'main.js': main,
      'vite.config.js': `export default { worker: { format: 'es' }, base: './' }\n`,
    },
    build: 'vite build --logLevel error',
    output: 'dist',
  }
}

const webpack: Tool = {
  name: 'webpack',
  packages: ['webpack@5', 'webpack-cli@6'],
  needs: worker,
  files: { 'src/index.js': mainWithEngine, 'dist/index.html': page('main.js') },
  build: 'webpack --mode production',
  output: 'dist',
}

/** A page of the app router that runs in the browser only. */
const nextPage = `'use client'
import { useEffect } from 'react'

export default function Page() {
  useEffect(() => void import('../client.js'), [])
  return <canvas />
}
`

const next = (version: number): Tool => ({
  name: 'Next',
  packages: [`next@${version}`, 'react@19', 'react-dom@19'],
  needs: `${worker}, in a module that an effect imports`,
  files: {
    'next.config.mjs': `export default { output: 'export' }\n`,
    'app/layout.js': `export default function Layout({ children }) {\n  return (\n    <html lang="en">\n      <body>{children}</body>\n    </html>\n  )\n}\n`,
    'app/page.js': nextPage,
    'client.js': mainWithEngine,
  },
  build: 'next build',
  output: 'out',
})

const typed = `import { DiffusionPipeline, isAquatintError } from 'aquatint'
import { AquatintPrompt } from 'aquatint/element'

const box: AquatintPrompt = document.createElement('aquatint-prompt')
export async function run(): Promise<number> {
  try {
    const pipeline = await DiffusionPipeline.fromPretrained('a/b', { device: 'wasm' })
    const { images } = await pipeline.generate('a boat')
    return images.length + box.childElementCount
  } catch (error) {
    return isAquatintError(error, 'does-not-fit') ? 0 : 1
  }
}
`

function typescript(version: string): Tool {
  const compilerOptions = {
    target: 'es2022',
    module: 'esnext',
    moduleResolution: 'bundler',
    lib: ['es2022', 'dom'],
    strict: true,
    exactOptionalPropertyTypes: true,
    skipLibCheck: false,
    noEmit: true,
    types: [],
  }
  return {
    name: 'TypeScript',
    packages: [`typescript@${version}`],
    needs: 'in `lib`: `es2022` or later, and `dom`; for `await using` also `esnext.disposable`',
    files: { 'tsconfig.json': JSON.stringify({ compilerOptions, include: ['main.ts'] }), 'main.ts': typed },
    build: 'tsc -p .',
  }
}

/** Everything that the table lists, in its order. */
export const tools: readonly Tool[] = [
  ...['5.6', '5.7', '5.8', '5.9', '6.0', '7.0'].map(typescript),
  vite(6, line),
  vite(7, line),
  vite(8, 'nothing for a build'),
  webpack,
  next(15),
  next(16),
]
