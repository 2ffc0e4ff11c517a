package main

func linearMemories(pid int) ([]int64, error) { return nil, nil }
