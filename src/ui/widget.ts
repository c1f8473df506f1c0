/** The script that sites load by one tag. It is built as `element.js`, a stable name, and imports files whose names contain hashes. */

import './element.js'
