/** How the page and its server name the files of a judged network. */

/** A file of the folder. */
export interface JudgedFile {
  readonly path: string
  readonly size: number
}

/** Where the server has the files. `begin` and `end` of the query say which bytes. */
export const judgedPath = '/judged/'
