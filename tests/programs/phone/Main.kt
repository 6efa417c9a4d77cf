// Arguments: a file of RGB levels, its height and width, and those of the network. Writes the resized levels, then the
// first 512 of them as Embedder reads them from its network.

import android.content.res.AssetManager
import android.graphics.Bitmap
import java.io.File

fun main(arguments: Array<String>) {
    val levels = File(arguments[0]).readBytes()
    val (height, width, toHeight, toWidth) = arguments.drop(1).map(String::toInt)
    val pixels = IntArray(height * width) { i -> (0..2).fold(255) { all, c -> all shl 8 or (levels[3 * i + c].toInt() and 255) } }
    System.out.write(resized(levels, height, width, toHeight, toWidth))
    Embedder(AssetManager(), "people.tflite", toHeight, toWidth).use { embedder ->
        val feature = embedder.feature(Bitmap(width, height, pixels))
        check(cosine(feature, feature) > 0.9999f)
        System.out.write(ByteArray(feature.size) { feature[it].toInt().toByte() })
    }
    System.out.flush()
}
