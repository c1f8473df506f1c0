/** Says what happens to a start picture: it is scaled to the size of the result, and cropped if its shape differs. Pure. */

import type { Size } from '../../parts/size.js'

/** Says how a start picture is fitted to the size of the result. Both sizes are undefined until they are known. */
export function fitWords(picture: Size | undefined, result: Size | undefined): string {
  if (picture === undefined || result === undefined) return 'Scaled to the size of the result, and cropped if its shape differs.'
  const { width, height } = result
  const scale = Math.max(width / picture.width, height / picture.height)
  // How much the result cuts from the picture's width and height, in pixels of the picture.
  const [cutWidth, cutHeight] = [picture.width - width / scale, picture.height - height / scale].map(Math.round)
  if (cutWidth === 0 && cutHeight === 0) return scale === 1 ? 'Used in full.' : `Scaled to ${width} × ${height}.`
  const sides = cutWidth === 0 ? 'the top and the bottom' : 'the left and the right'
  return `Cropped at ${sides} to fit ${width} × ${height}.`
}
