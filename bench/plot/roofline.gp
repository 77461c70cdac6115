# SPDX-License-Identifier: Apache-2.0
# Every case against the limits measured in the same run. data: folder of the tables.
load data.'/roofs.gp'
set title "libgqa against the machine: every case of the run"
set xlabel "floating-point operations per byte of keys, values and weights"
set ylabel "GFLOP/s"
set logscale xy
set xrange [0.3:40000]
set yrange [0.1:6000]
set key outside bottom center horizontal
set grid lc rgb "#e0e0e0"
roof(x, peak, read) = (peak > 0 && read > 0) ? (x * read < peak ? x * read : peak) : NaN
flat(peak) = peak > 0 ? peak : NaN
top = amx > 0 ? amx : fma
plot roof(x, top, dram) lw 2 lc rgb "#444444" title "DRAM, 8 streams", \
     roof(x, top, l3) lw 1 dt 2 lc rgb "#444444" title "L3", \
     roof(x, top, l2) lw 1 dt 3 lc rgb "#444444" title "L2", \
     flat(fma) lw 1 lc rgb "#888888" title "f32 multiply-adds", \
     flat(amx) lw 1 lc rgb "#aa6600" title "AMX bf16", \
     data.'/points_f32.dat' using 1:2 pt 7 ps 0.8 lc rgb "#1f77b4" title "f32 cases", \
     data.'/points_bf16.dat' using 1:2 pt 9 ps 0.9 lc rgb "#d62728" title "bf16 cases"
