/** The size of a picture. Only a type. */

/** A size in pixels. */
export interface Size {
  readonly width: number
  readonly height: number
}
