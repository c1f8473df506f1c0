/** The site and the widget's script by default; the package with `--mode library`, the command line with `--mode cli`. */
import { fileURLToPath } from 'node:url'
import { defineConfig, type Plugin } from 'vite'

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url))

/** The dev server puts styles into the page itself, which the built site's policy forbids. */
const looserPolicyForDevelopment: Plugin = {
  name: 'looser-policy-for-development',
  apply: 'serve',
  transformIndexHtml: (html) => html.replace("default-src 'self'", "default-src 'self'; style-src 'self' 'unsafe-inline'"),
}

/**
 * In the package the worker stays a module of its own, named by an expression that a consumer's bundler follows: bundling it, that
 * bundler finds onnxruntime-web's wasm too. (Vite's library mode would put all of it into one file as text.)
 */
const workerAsModule: Plugin = {
  name: 'worker-as-module',
  enforce: 'pre',
  transform(code, id) {
    if (!id.endsWith('/spawn-worker.ts')) return undefined
    const expression = "new URL('../engine.worker.ts', import.meta.url)"
    if (!code.includes(expression)) this.error(`spawn-worker.ts no longer says ${expression}`)
    return code.replace(expression, '__engineWorkerUrl__')
  },
  renderChunk: (code) => code.replace('__engineWorkerUrl__', "new URL('./engine.worker.js', import.meta.url)"),
}

export default defineConfig(({ mode }) => ({
  base: './',
  worker: { format: 'es' as const },
  // onnxruntime-web finds its wasm by import.meta.url, which pre-bundling would break.
  optimizeDeps: { exclude: ['onnxruntime-web'] },
  plugins: mode === 'library' ? [workerAsModule] : [looserPolicyForDevelopment],
  build:
    mode === 'library'
      ? {
          outDir: 'dist/library',
          target: 'es2023',
          copyPublicDir: false,
          minify: false,
          lib: {
            entry: {
              index: here('src/index.ts'),
              element: here('src/ui/element.ts'),
              'engine.worker': here('src/engine/engine.worker.ts'),
            },
            formats: ['es' as const],
          },
          rolldownOptions: { external: /^[@a-z]/ },
        }
      : mode === 'cli'
        ? {
            outDir: 'dist',
            emptyOutDir: false,
            target: 'node20',
            copyPublicDir: false,
            ssr: here('cli/bin.ts'),
            rolldownOptions: { output: { entryFileNames: 'cli.js', banner: '#!/usr/bin/env node' } },
          }
        : {
            outDir: 'dist/site',
            target: 'es2023',
            rolldownOptions: {
              // `element.js` is the widget's script tag, so its name holds no hash.
              input: { index: here('index.html'), embed: here('embed.html'), element: here('src/ui/widget.ts') },
              output: { entryFileNames: ({ name }) => (name === 'element' ? 'element.js' : 'assets/[name]-[hash].js') },
            },
          },
}))
