// What Embedder.kt uses of Android's Bitmap.
package android.graphics

class Bitmap(val width: Int, val height: Int, private val pixels: IntArray) {
    fun getPixels(into: IntArray, offset: Int, stride: Int, x: Int, y: Int, width: Int, height: Int) {
        check(offset == 0 && stride == width && x == 0 && y == 0 && width * height == pixels.size)
        pixels.copyInto(into)
    }
}
