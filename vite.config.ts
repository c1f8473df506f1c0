/** The site (index.html) by default; the library with `--mode library`, the command line with `--mode cli`. */
import { fileURLToPath } from 'node:url'
import { defineConfig, type Plugin } from 'vite'

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url))

/** The dev server puts styles into the page itself, which the built site's policy forbids. */
const looserPolicyForDevelopment: Plugin = {
  name: 'looser-policy-for-development',
  apply: 'serve',
  transformIndexHtml: (html) => html.replace("default-src 'self'", "default-src 'self'; style-src 'self' 'unsafe-inline'"),
}

export default defineConfig(({ mode }) => ({
  base: './',
  worker: { format: 'es' as const },
  // onnxruntime-web finds its wasm by import.meta.url, which pre-bundling would break.
  optimizeDeps: { exclude: ['onnxruntime-web'] },
  plugins: [looserPolicyForDevelopment],
  build:
    mode === 'library'
      ? {
          outDir: 'dist/library',
          target: 'es2023',
          copyPublicDir: false,
          lib: { entry: { index: here('src/index.ts'), element: here('src/ui/element.ts') }, formats: ['es' as const] },
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
            rolldownOptions: { input: { index: here('index.html'), embed: here('embed.html') } },
          },
}))
