/**
 * Builds the site and the widget's script by default, the package with `--mode library`, and the command line with `--mode cli`.
 * `vite preview --mode plain-host` serves the site without the headers for cross-origin isolation.
 */
import { fileURLToPath } from 'node:url'
import { defineConfig, type Plugin } from 'vite'
import { compressWasm } from './scripts/compress-wasm.mjs'
import { listModels } from './scripts/list-models.mjs'

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url))

/** The dev server adds inline styles, which the Content-Security-Policy of the built site forbids. */
const looserPolicyForDevelopment: Plugin = {
  name: 'looser-policy-for-development',
  apply: 'serve',
  transformIndexHtml: (html) => html.replace("default-src 'self'", "default-src 'self'; style-src 'self' 'unsafe-inline'"),
}

/**
 * With these headers a page is cross-origin isolated, so the kernels of the CPU use threads (public/service-worker.js adds them on other hosts). The last
 * one lets isolated pages of other sites load the widget.
 */
const isolation = {
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Embedder-Policy': 'require-corp',
  'Cross-Origin-Resource-Policy': 'cross-origin',
}

/**
 * In the package the worker and onnxruntime-web's wasm stay files of their own, named by expressions that a consumer's bundler
 * follows. (Vite's library mode would put all of them into one file as text.)
 */
const urlsForBundlers: Plugin = {
  name: 'urls-for-bundlers',
  enforce: 'pre',
  transform(code, id) {
    if (id.includes('/node_modules/')) return undefined
    return code.replace(/new URL\(('[^']+'), import\.meta\.url\)/g, '__urlForBundlers__($1)')
  },
  renderChunk: (code) =>
    code
      .replace(/__urlForBundlers__\(["'](.+?)["']\)/g, "new URL('$1', import.meta.url)")
      .replace("'../engine.worker.ts'", "'./engine.worker.js'"),
}

/**
 * The oldest browsers that the styles are written for, the same for every build: the first with `light-dark()`. For older ones, Vite
 * replaces `light-dark()` by variables that only a style sheet with `color-scheme` defines, and the prompt box does not get the variables.
 */
const cssTarget = ['chrome123', 'edge123', 'firefox120', 'safari17.5']

/** Rolldown does not report the times of the plugins: the user of `npm start` has no use for them. */
const checks = { bundlerTimings: false }

export default defineConfig(({ mode }) => ({
  base: './',
  worker: { format: 'es' as const, rolldownOptions: { checks } },
  server: { headers: isolation },
  preview: { headers: mode === 'plain-host' ? {} : isolation },
  // onnxruntime-web finds its wasm by import.meta.url, which pre-bundling would break.
  optimizeDeps: { exclude: ['onnxruntime-web'] },
  plugins:
    mode === 'library' ? [urlsForBundlers] : mode === 'cli' ? [] : [looserPolicyForDevelopment, listModels(), compressWasm()],
  build:
    mode === 'library'
      ? {
          outDir: 'dist/library',
          target: 'es2023',
          cssTarget,
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
            cssTarget,
            rolldownOptions: {
              checks,
              // Other sites' pages name `element.js` (the widget) and `aquatint.js` (the library), so these two names hold no hash.
              input: {
                index: here('index.html'),
                embed: here('embed.html'),
                element: here('src/ui/widget.ts'),
                aquatint: here('src/index.ts'),
              },
              preserveEntrySignatures: 'exports-only' as const,
              output: {
                entryFileNames: ({ name }) =>
                  name === 'element' || name === 'aquatint' ? '[name].js' : 'assets/[name]-[hash].js',
              },
            },
          },
}))
