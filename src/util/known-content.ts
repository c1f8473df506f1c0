/**
 * Recognizes files that do not contain what their names say, by their first bytes: Git LFS pointers, HTML pages, archives, and empty files.
 * These accidents happen when files are copied or served. For each of them, there is a sentence that says what to do. Pure.
 */

import { CheckpointError, type CheckpointErrorCode } from '../errors.js'

/** What was found in place of a file. */
export interface KnownContent {
  readonly code: Extract<
    CheckpointErrorCode,
    'lfs-pointer' | 'html-page' | 'compressed-file' | 'pickle-file' | 'empty-file' | 'other-format'
  >
  /** Completes a sentence that begins with the file's name, and says what to do. Without a full stop at the end. */
  readonly what: string
}

/** The most bytes that {@link recognizeContent} looks at. */
export const recognizedBytes = 512

const lfs = {
  code: 'lfs-pointer',
  what: 'is a Git LFS pointer, not the file itself: the repository was copied without Git LFS. Run "git lfs pull" in the copy that this comes from, then copy or upload the file again',
} as const
const html = {
  code: 'html-page',
  what: 'is an HTML page, not the file itself: its server answers the address with a page, such as a login page or its home page. Check the address, and that the file can be downloaded without logging in',
} as const
const pickle = {
  code: 'pickle-file',
  what: 'is a PyTorch file (a pickle), which can run code and is not read. Load it with diffusers and save it with save_pretrained, which writes safetensors',
} as const

const compressed = (name: string, tool: string): KnownContent => ({
  code: 'compressed-file',
  what: `is compressed with ${name}. Decompress it (${tool}) and upload it again, or let the server name the compression in Content-Encoding`,
})
const other = (name: string, advice: string): KnownContent => ({ code: 'other-format', what: `is ${name}. ${advice}` })
const uploadAgain = 'Download or copy the file again'

/** The first bytes of some formats, in Latin-1, and what a file that begins with them contains. */
const signatures: readonly (readonly [string, KnownContent])[] = [
  ['\x1f\x8b', compressed('gzip', 'gunzip')],
  ['\xfd7zXZ\0', compressed('xz', 'unxz')],
  ['\x28\xb5\x2f\xfd', compressed('Zstandard', 'unzstd')],
  ['BZh', compressed('bzip2', 'bunzip2')],
  ['7z\xbc\xaf\x27\x1c', compressed('7-Zip', '7z x')],
  [
    'PK\x03\x04',
    {
      ...pickle,
      what: 'is a ZIP archive, as torch.save writes it (a pickle), which can run code and is not read. Load it with diffusers and save it with save_pretrained, which writes safetensors',
    },
  ],
  ['GGUF', other('a GGUF file', "Give a repository in diffusers' layout with safetensors files")],
  ['\x89HDF', other('an HDF5 file', "Give a repository in diffusers' layout with safetensors files")],
  ['%PDF', other('a PDF document', uploadAgain)],
  ['\x89PNG', other('a PNG image', uploadAgain)],
  ['\xff\xfe', other('text in UTF-16', 'Save it as UTF-8')],
  ['\xfe\xff', other('text in UTF-16', 'Save it as UTF-8')],
]

/** The texts that servers send, and download scripts store, in place of a file that is missing or forbidden. */
const answers =
  /^(?:entry not found|(?:404:? )?not found|repository not found|file not found|invalid username or password|access (?:denied|to [^\n]{1,200} restricted)|unauthorized|forbidden|too many requests)/i

/**
 * Says what is in a file whose first bytes are wrong for its format. Undefined if the content is not recognized.
 * @param head the first {@link recognizedBytes} bytes of the file or more; all bytes of a shorter file
 */
export function recognizeContent(head: Uint8Array): KnownContent | undefined {
  if (head.length === 0)
    return { code: 'empty-file', what: 'is empty: it was not copied or uploaded to its end. Download or copy the file again' }
  const text = Array.from(head.subarray(0, recognizedBytes), (byte) => String.fromCharCode(byte)).join('')
  const start = text.replace(/^\xef\xbb\xbf/, '').trimStart()
  if (start.startsWith('version https://git-lfs') || start.startsWith('version https://hawser')) return lfs
  if (
    /^<(?:!doctype html|html|head|body|!--|script|title|meta)\b/i.test(start) ||
    /^<\?xml[^>]*>\s*<(?:!doctype )?html/i.test(start)
  )
    return html
  if (/^<(?:\?xml|Error)\b/i.test(start))
    return other(
      'an XML document, such as the error of a storage service',
      'Check the address, and that the file can be downloaded without logging in',
    )
  const signature = signatures.find(([bytes]) => text.startsWith(bytes))
  if (signature !== undefined) return signature[1]
  // The first opcode of a pickle names its protocol.
  const [first, protocol = 0] = head
  if (first === 0x80 && protocol >= 2 && protocol <= 5) return pickle
  const answer = answers.exec(start)?.[0]
  if (answer !== undefined)
    return other(`the answer of a server (${JSON.stringify(answer)}), stored in place of the file`, uploadAgain)
  return undefined
}

/** The error for a file whose content {@link recognizeContent} recognizes, else undefined. */
export function knownContentError(head: Uint8Array, file: string): CheckpointError | undefined {
  const known = recognizeContent(head)
  return known === undefined ? undefined : new CheckpointError(known.code, `${file} ${known.what}.`, { file })
}
