module skein/cluster/pause

go 1.26.0
