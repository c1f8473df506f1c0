/** Lets the user pick a folder with a checkpoint, or one file, with the File System Access API or the older file input. */

import type { RepositoryReference } from '../../../index.js'
import { h } from '../../parts/dom.js'

/** The handle of a folder, or the files in it. */
export type Folder = Exclude<RepositoryReference, string>

type DirectoryPicker = (options: { readonly mode: 'read' }) => Promise<FileSystemDirectoryHandle>

/** Shows the picker; gives the folder, or undefined if the user cancels. Browsers allow it only during a click. */
export async function pickFolder(): Promise<Folder | undefined> {
  const { showDirectoryPicker } = window as { readonly showDirectoryPicker?: DirectoryPicker }
  if (showDirectoryPicker === undefined) return pickFiles()
  try {
    return await showDirectoryPicker({ mode: 'read' })
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') return undefined
    // A frame of another origin may not open the picker, but the file input works there.
    return pickFiles()
  }
}

/** The only file of `folder`, if a caller set a single file instead of a folder. */
export function onlyFile(folder: Folder): File | undefined {
  return 'kind' in folder || folder.length > 1 || folder[0]?.webkitRelativePath !== '' ? undefined : folder[0]
}

/** The name of a folder; undefined for files without one. */
export function folderName(folder: Folder): string | undefined {
  return 'kind' in folder ? folder.name : folder[0]?.webkitRelativePath.split('/')[0] || undefined
}

/** Shows the picker for a checkpoint in one file; undefined if the user cancels. */
export function pickFile(): Promise<Folder | undefined> {
  return filesOf(h('input', { type: 'file', accept: '.safetensors,.gguf' }))
}

function pickFiles(): Promise<Folder | undefined> {
  return filesOf(h('input', { type: 'file', webkitdirectory: true }))
}

function filesOf(input: HTMLInputElement): Promise<Folder | undefined> {
  return new Promise((resolve) => {
    input.addEventListener('cancel', () => resolve(undefined))
    input.addEventListener('change', () => {
      const files = [...(input.files ?? [])]
      resolve(files.length === 0 ? undefined : files)
    })
    input.click()
  })
}
