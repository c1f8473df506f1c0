/** How the page and its server name the files of a network that is compared with PyTorch. */

/** A file of the folder. */
export interface JudgedFile {
  readonly path: string
  readonly size: number
}

/** The path below which the server has the files. `begin` and `end` of the query say which bytes it sends. */
export const judgedPath = '/judged/'
