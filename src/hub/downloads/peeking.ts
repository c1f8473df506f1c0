/** A repository for looking: of its weight files only what is read is fetched, while small files are opened as ever. */

import type { PeekedSource, Repository } from '../types.js'

/** The same repository, whose safetensors files are peeked at where it can; `onPeek` is told of each. */
export function peeking(repository: Repository, onPeek: (source: PeekedSource) => void = () => {}): Repository {
  return {
    id: repository.id,
    revision: repository.revision,
    files: (options) => repository.files(options),
    open: async (path, options) => {
      if (!path.endsWith('.safetensors') || repository.peek === undefined) return repository.open(path, options)
      const source = await repository.peek(path, options)
      onPeek(source)
      return source
    },
  }
}
