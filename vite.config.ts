/** The site (index.html) by default; the library with `--mode library`. */
import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vite'

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url))

export default defineConfig(({ mode }) => ({
  base: './',
  worker: { format: 'es' as const },
  // onnxruntime-web finds its wasm by import.meta.url, which pre-bundling would break.
  optimizeDeps: { exclude: ['onnxruntime-web'] },
  build:
    mode === 'library'
      ? {
          outDir: 'dist/library',
          target: 'es2023',
          copyPublicDir: false,
          lib: { entry: { index: here('src/index.ts'), element: here('src/ui/element.ts') }, formats: ['es' as const] },
        }
      : { outDir: 'dist/site', target: 'es2023' },
}))
