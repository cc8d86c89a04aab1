package compat; public final class Suite { public static void main(String[] a) {} }
