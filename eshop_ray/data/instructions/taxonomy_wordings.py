"""How questions about categories and attributes are worded, in each language in which their names are known."""
# ruff: noqa: RUF001 - Chinese and Japanese have marks of their own

PARENT = {
    "en": (
        'Below which category does "{category}" belong?\n{options}',
        'A shop\'s tree of categories has "{category}" in it. Under which of these does it stand?\n{options}',
        "Category: {category}\nWhich is its parent category?\n{options}\nAnswer:",
        "In which part of a shop would you look for {category}?\n{options}",
        "Sort the category {category} into the tree: which branch holds it?\n{options}",
        "You maintain a shop's navigation. Hang {category} under the right heading.\n{options}",
    ),
    "de": (
        'Zu welcher Oberkategorie gehört "{category}"?\n{options}',
        'Im Kategoriebaum eines Shops gibt es "{category}". Worunter steht das?\n{options}',
        "Kategorie: {category}\nWelche ist die übergeordnete Kategorie?\n{options}\nAntwort:",
        "In welchem Bereich eines Shops würden Sie {category} suchen?\n{options}",
        "Ordnen Sie die Kategorie {category} ein: Welcher Zweig enthält sie?\n{options}",
        "Sie pflegen die Navigation eines Shops. Unter welche Überschrift gehört {category}?\n{options}",
    ),
    "fr": (
        "À quelle catégorie supérieure appartient « {category} » ?\n{options}",
        "L'arborescence d'une boutique contient « {category} ». Sous laquelle de ces catégories ?\n{options}",
        "Catégorie : {category}\nQuelle est sa catégorie parente ?\n{options}\nRéponse :",
        "Dans quelle partie d'une boutique chercheriez-vous {category} ?\n{options}",
        "Placez la catégorie {category} : quelle branche la contient ?\n{options}",
        "Vous gérez la navigation d'une boutique. Sous quel titre ranger {category} ?\n{options}",
    ),
    "es": (
        "¿A qué categoría superior pertenece «{category}»?\n{options}",
        "El árbol de categorías de una tienda contiene «{category}». ¿Debajo de cuál está?\n{options}",
        "Categoría: {category}\n¿Cuál es su categoría superior?\n{options}\nRespuesta:",
        "¿En qué parte de una tienda buscaría {category}?\n{options}",
        "Coloque la categoría {category}: ¿qué rama la contiene?\n{options}",
        "Usted gestiona la navegación de una tienda. ¿Bajo qué título va {category}?\n{options}",
    ),
    "ja": (
        "「{category}」はどの上位カテゴリーに属しますか。\n{options}",
        "ショップのカテゴリーツリーに「{category}」があります。次のどれの下にありますか。\n{options}",
        "カテゴリー: {category}\n親カテゴリーはどれですか。\n{options}\n答え:",
        "ショップのどこで{category}を探しますか。\n{options}",
        "カテゴリー{category}を分類してください。どの枝に入りますか。\n{options}",
        "ショップのナビゲーションを管理しています。{category}はどの見出しの下に置きますか。\n{options}",
    ),
}

CHILDREN = {
    "en": (
        'Which of these stand directly below the category "{category}"? At most three do.\n{options}\nAnswer:',
        "Category: {category}\nGive the numbers of its subcategories, three at most.\n{options}",
        "A shopper opens {category}. Which of these subcategories (up to three) are listed there?\n{options}",
        "Find the children of {category} in the tree, no more than three.\n{options}",
        "Up to three of these belong to {category}. Which?\n{options}",
        "Which headings, three at the most, would you file under {category}?\n{options}",
    ),
    "de": (
        'Welche davon stehen direkt unter der Kategorie "{category}"? Höchstens drei.\n{options}\nAntwort:',
        "Kategorie: {category}\nNennen Sie die Nummern ihrer Unterkategorien, höchstens drei.\n{options}",
        "Ein Kunde öffnet {category}. Welche Unterkategorien (bis zu drei) sieht er dort?\n{options}",
        "Finden Sie die Unterkategorien von {category}, nicht mehr als drei.\n{options}",
        "Bis zu drei davon gehören zu {category}. Welche?\n{options}",
        "Welche Überschriften, höchstens drei, würden Sie unter {category} ablegen?\n{options}",
    ),
    "fr": (
        "Lesquelles se trouvent juste sous la catégorie « {category} » ? Trois au plus.\n{options}\nRéponse :",
        "Catégorie : {category}\nDonnez les numéros de ses sous-catégories, trois au plus.\n{options}",
        "Un client ouvre {category}. Quelles sous-catégories (jusqu'à trois) y voit-il ?\n{options}",
        "Trouvez les sous-catégories de {category}, pas plus de trois.\n{options}",
        "Jusqu'à trois d'entre elles font partie de {category}. Lesquelles ?\n{options}",
        "Quels titres, trois au maximum, rangeriez-vous sous {category} ?\n{options}",
    ),
    "es": (
        "¿Cuáles están directamente debajo de la categoría «{category}»? Tres como máximo.\n{options}\nRespuesta:",
        "Categoría: {category}\nIndique los números de sus subcategorías, tres como máximo.\n{options}",
        "Un cliente abre {category}. ¿Qué subcategorías (hasta tres) ve allí?\n{options}",
        "Encuentre las subcategorías de {category}, no más de tres.\n{options}",
        "Hasta tres de estas pertenecen a {category}. ¿Cuáles?\n{options}",
        "¿Qué títulos, tres a lo sumo, pondría bajo {category}?\n{options}",
    ),
    "ja": (
        "カテゴリー「{category}」のすぐ下にあるのはどれですか。最大三つです。\n{options}\n答え:",
        "カテゴリー: {category}\n下位カテゴリーの番号を最大三つ挙げてください。\n{options}",
        "お客様が{category}を開きます。そこにある下位カテゴリー（三つまで）はどれですか。\n{options}",
        "{category}の下位カテゴリーを三つ以内で見つけてください。\n{options}",
        "このうち最大三つが{category}に属します。どれですか。\n{options}",
        "{category}の下に置く見出しはどれですか（多くて三つ）。\n{options}",
    ),
}

ATTRIBUTES = {
    "en": (
        "Which attributes does a shop record for products in {category}? Separate them by commas.",
        "Category: {category}\nAttributes:",
        "List the attributes by which shoppers filter {category}, with commas between them.",
        "What should the data sheet of a product in {category} say? Name the fields, separated by commas.",
        "Name the product attributes that matter in the category {category}.",
        "You set up filters for {category}. Which ones do you offer?",
    ),
    "de": (
        "Welche Merkmale erfasst ein Shop zu Produkten in {category}? Trennen Sie sie mit Kommas.",
        "Kategorie: {category}\nMerkmale:",
        "Nennen Sie die Merkmale, nach denen Kunden {category} filtern, mit Kommas dazwischen.",
        "Was gehört in das Datenblatt eines Produkts aus {category}? Nennen Sie die Felder.",
        "Nennen Sie die Produktmerkmale, die in der Kategorie {category} wichtig sind.",
        "Sie richten Filter für {category} ein. Welche bieten Sie an?",
    ),
    "fr": (
        "Quels attributs une boutique indique-t-elle pour les produits de {category} ? Séparez-les par des virgules.",
        "Catégorie : {category}\nAttributs :",
        "Énumérez les attributs par lesquels les clients filtrent {category}, séparés par des virgules.",
        "Que doit dire la fiche d'un produit de {category} ? Nommez les champs.",
        "Nommez les attributs qui comptent dans la catégorie {category}.",
        "Vous créez des filtres pour {category}. Lesquels proposez-vous ?",
    ),
    "es": (
        "¿Qué atributos registra una tienda para los productos de {category}? Sepárelos con comas.",
        "Categoría: {category}\nAtributos:",
        "Enumere los atributos por los que los clientes filtran {category}, separados por comas.",
        "¿Qué debe decir la ficha de un producto de {category}? Nombre los campos.",
        "Nombre los atributos que importan en la categoría {category}.",
        "Usted configura filtros para {category}. ¿Cuáles ofrece?",
    ),
    "ja": (
        "{category}の商品について、ショップはどの属性を記録しますか。カンマで区切ってください。",
        "カテゴリー: {category}\n属性:",
        "お客様が{category}を絞り込む属性を、カンマで区切って挙げてください。",
        "{category}の商品データシートには何を書きますか。項目を挙げてください。",
        "カテゴリー{category}で重要な商品属性を挙げてください。",
        "{category}のフィルターを設定します。どれを用意しますか。",
    ),
}

TRANSLATION = {
    "de": (
        'Wie heißt die Kategorie "{category}" in einem deutschen Shop?',
        "Übersetzen Sie den Namen der Kategorie ins Deutsche: {category}",
        "Kategorie auf Englisch: {category}\nAuf Deutsch:",
        'Ein Shop wird übersetzt. Wie lautet "{category}" auf Deutsch?',
        "Nennen Sie den deutschen Kategorienamen für {category}.",
        "{category}: Was steht dafür in der Navigation des deutschen Shops?",
    ),
    "fr": (
        "Comment s'appelle la catégorie « {category} » dans une boutique française ?",
        "Traduisez en français le nom de la catégorie : {category}",
        "Catégorie en anglais : {category}\nEn français :",
        "On traduit une boutique. Que devient « {category} » en français ?",
        "Donnez le nom français de la catégorie {category}.",
        "{category} : que lit-on à la place dans la navigation de la boutique française ?",
    ),
    "es": (
        "¿Cómo se llama la categoría «{category}» en una tienda en español?",
        "Traduzca al español el nombre de la categoría: {category}",
        "Categoría en inglés: {category}\nEn español:",
        "Se traduce una tienda. ¿Cómo se dice «{category}» en español?",
        "Dé el nombre español de la categoría {category}.",
        "{category}: ¿qué pone en su lugar en el menú de la tienda española?",
    ),
    "ja": (
        "カテゴリー「{category}」は日本語のショップでは何と呼ばれますか。",
        "次のカテゴリー名を日本語に翻訳してください: {category}",
        "英語のカテゴリー: {category}\n日本語:",
        "ショップを翻訳しています。「{category}」は日本語で何ですか。",
        "{category}の日本語のカテゴリー名を答えてください。",
        "{category}は日本のショップのナビゲーションでは何と書かれていますか。",
    ),
}

VALUE = {
    "en": (
        'Which of these is a value of the attribute "{attribute}"?\n{options}\nAnswer:',
        "Attribute: {attribute}\nPick a value that it can have.\n{options}",
        "A product's data sheet asks for {attribute}. What could stand there?\n{options}",
        "One of these belongs to {attribute}. Which one?\n{options}",
        "Choose what fits into the field {attribute}.\n{options}",
        "A shopper filters by {attribute}. Which of these can they tick?\n{options}",
    ),
    "de": (
        'Was davon ist ein Wert des Merkmals "{attribute}"?\n{options}\nAntwort:',
        "Merkmal: {attribute}\nWählen Sie einen Wert, den es haben kann.\n{options}",
        "Das Datenblatt eines Produkts fragt nach {attribute}. Was könnte dort stehen?\n{options}",
        "Eines davon gehört zu {attribute}. Welches?\n{options}",
        "Wählen Sie, was in das Feld {attribute} passt.\n{options}",
        "Ein Kunde filtert nach {attribute}. Was kann er ankreuzen?\n{options}",
    ),
    "fr": (
        "Laquelle est une valeur de l'attribut « {attribute} » ?\n{options}\nRéponse :",
        "Attribut : {attribute}\nChoisissez une valeur qu'il peut prendre.\n{options}",
        "La fiche d'un produit demande : {attribute}. Que peut-on y lire ?\n{options}",
        "L'une d'elles relève de {attribute}. Laquelle ?\n{options}",
        "Choisissez ce qui convient au champ {attribute}.\n{options}",
        "Un client filtre par {attribute}. Que peut-il cocher ?\n{options}",
    ),
    "es": (
        "¿Cuál de estos es un valor del atributo «{attribute}»?\n{options}\nRespuesta:",
        "Atributo: {attribute}\nElija un valor que pueda tener.\n{options}",
        "La ficha de un producto pide: {attribute}. ¿Qué podría poner?\n{options}",
        "Uno de estos corresponde a {attribute}. ¿Cuál?\n{options}",
        "Elija lo que encaja en el campo {attribute}.\n{options}",
        "Un cliente filtra por {attribute}. ¿Qué puede marcar?\n{options}",
    ),
    "ja": (
        "属性「{attribute}」の値はどれですか。\n{options}\n答え:",
        "属性: {attribute}\n取りうる値を選んでください。\n{options}",
        "商品データシートに{attribute}の欄があります。そこに書けるのはどれですか。\n{options}",
        "このうち一つが{attribute}に当てはまります。どれですか。\n{options}",
        "{attribute}の欄に合うものを選んでください。\n{options}",
        "お客様が{attribute}で絞り込みます。選べるのはどれですか。\n{options}",
    ),
}

GOOGLE = {
    "en": (
        "Which category of Google's product taxonomy corresponds to this one? Give the full path.\n{category}",
        "Shop category: {category}\nGoogle product category:",
        'Map "{category}" to Google\'s product taxonomy.',
        "A merchant feed needs a google_product_category. The shop's own category is {category}. Which one is it?",
        "Translate the category path {category} into the one that Google Merchant Center uses.",
        "For an export to Google, what becomes of {category}?",
    ),
}
