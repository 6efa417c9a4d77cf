// Eleven rows a layer; their meaning is in paint.py, class Paint.
layout(std140) uniform Paints { vec4 paint[264]; };
const int SKIN = 0, CLOTH = 1, HAIR = 2, PLAIN = 3, SHOE = 4;

vec4 row(int k, int layer) { return paint[layer * 11 + k]; }

