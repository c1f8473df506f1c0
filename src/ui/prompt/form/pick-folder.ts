/** Lets the reader pick a folder with a checkpoint: by the File System Access API, or by the older file input. */

import type { RepositoryReference } from '../../../index.js'
import { h } from '../../parts/dom.js'

/** A folder's handle, or the files in it. */
export type Folder = Exclude<RepositoryReference, string>

type DirectoryPicker = (options: { readonly mode: 'read' }) => Promise<FileSystemDirectoryHandle>

/** The folder, or undefined when the reader changed their mind. To be called from a click. */
export async function pickFolder(): Promise<Folder | undefined> {
  const { showDirectoryPicker } = window as { readonly showDirectoryPicker?: DirectoryPicker }
  if (showDirectoryPicker === undefined) return pickFiles()
  try {
    return await showDirectoryPicker({ mode: 'read' })
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') return undefined
    // A frame of another origin may not open the picker; the input works there.
    return pickFiles()
  }
}

/** What a folder is called; undefined for files that are in none. */
export function folderName(folder: Folder): string | undefined {
  return 'kind' in folder ? folder.name : folder[0]?.webkitRelativePath.split('/')[0] || undefined
}

function pickFiles(): Promise<Folder | undefined> {
  const input = h('input', { type: 'file', webkitdirectory: true })
  return new Promise((resolve) => {
    input.addEventListener('cancel', () => resolve(undefined))
    input.addEventListener('change', () => {
      const files = [...(input.files ?? [])]
      resolve(files.length === 0 ? undefined : files)
    })
    input.click()
  })
}
